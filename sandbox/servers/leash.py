"""Runs a server for as long as its parent lives: `python leash.py COMMAND…`.

The parent holds the other end of this process's standard input. That pipe closes when the parent ends in
any way, SIGKILL included, and the server is then stopped. (`PR_SET_PDEATHSIG` would be shorter, but it is
Linux's alone and fires when the *thread* that started the server ends.) The server's process id is printed
on standard output; what the server itself prints goes to standard error, which is its log.
"""

import os
import signal
import subprocess
import sys
import threading

_SECONDS_TO_STOP = 5.0


def _stop_when_parent_ends(server: subprocess.Popen[bytes]) -> None:
    os.read(0, 1)  # nothing is ever written: this returns at the pipe's end
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
