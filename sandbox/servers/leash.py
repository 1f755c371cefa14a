"""Runs a server while its parent process lives: `python leash.py COMMAND…`.

The parent holds the other end of this process's standard input. That pipe closes when the parent ends in any way,
including SIGKILL, and the leash then stops the server. (`PR_SET_PDEATHSIG` would be shorter, but it exists only on
Linux, and it fires when the *thread* that started the server ends.) The leash prints the server's process id on
standard output. The server's own output goes to standard error, which is its log.
"""

import os
import signal
import subprocess
import sys
import threading

_SECONDS_TO_STOP = 5.0


def _stop_when_parent_ends(server: subprocess.Popen[bytes]) -> None:
    os.read(0, 1)  # nothing is ever written to the pipe, so this returns only when it closes
    server.terminate()
    try:
        server.wait(_SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        server.kill()


def main(command: list[str]) -> int:
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    print(server.pid, flush=True)
    threading.Thread(target=_stop_when_parent_ends, args=(server,), daemon=True).start()
    return server.wait()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.exit(code if code >= 0 else 128 - code)
