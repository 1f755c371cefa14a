"""Serves a stand-in as a process of its own."""

import socket

from aiohttp import web


def serve(app: web.Application, host: str, port: int) -> None:
    """Serves until SIGTERM or Ctrl-C; port 0 takes a free one.

    Prints `listening http://HOST:PORT` once connections are taken: the socket listens from then on, and what
    comes before the loop runs waits in its backlog.
    """
    with socket.create_server((host, port), backlog=1024) as listener:
        print(f"listening http://{host}:{listener.getsockname()[1]}", flush=True)
        web.run_app(app, sock=listener, print=None, access_log=None, shutdown_timeout=1.0)
