"""Serves a stand-in in its own process."""

import socket

from aiohttp import web


def serve(app: web.Application, host: str, port: int) -> None:
    """Serves until SIGTERM or Ctrl-C. Port 0 selects a free port.

    Prints `listening http://HOST:PORT` when the socket listens. Connections that arrive before the event loop runs wait
    in the socket's backlog.
    """
    with socket.create_server((host, port), backlog=1024) as listener:
        print(f"listening http://{host}:{listener.getsockname()[1]}", flush=True)
        web.run_app(app, sock=listener, print=None, access_log=None, shutdown_timeout=1.0)
