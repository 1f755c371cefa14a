"""Runs Entra and Graph in their own process: `python -m sandbox.graph --port 0`.

Prints `listening http://127.0.0.1:PORT` when it is ready. Ends at SIGTERM or Ctrl-C.
"""

import argparse
import asyncio
import gc
import signal
import ssl

import uvloop
from aiohttp import web

from sandbox.graph.app import build
from sandbox.graph.world import World


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.graph", description="A stand-in for Entra and Graph")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 selects a free port")
    parser.add_argument("--tls-cert", help="PEM file of the certificate chain: serve https")
    parser.add_argument("--tls-key", help="PEM file of its key")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="how long each request takes")
    parser.add_argument("--seed", type=int, default=0, help="makes ids and random choices repeatable")
    return parser


def main() -> None:
    """Reads the command line and serves until it is stopped."""
    options = (command := parser()).parse_args()
    if bool(options.tls_cert) is not bool(options.tls_key):
        command.error("--tls-cert and --tls-key must be given together")
    world = World(options.seed)
    world.switches.change({"latency_ms": options.latency_ms})
    tls = None
    if options.tls_cert:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.tls_cert, options.tls_key)
    gc.set_threshold(100_000, 20, 100)  # most objects of a large world stay, so collect rarely
    uvloop.run(_serve(world, options.host, options.port, tls))


async def _serve(world: World, host: str, port: int, tls: ssl.SSLContext | None) -> None:
    runner = web.AppRunner(build(world), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, host, port, ssl_context=tls, backlog=1024)
    await site.start()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    bound = runner.addresses[0][1]
    print(f"listening {'https' if tls else 'http'}://{host}:{bound}", flush=True)
    await stopped.wait()
    await runner.cleanup()


if __name__ == "__main__":
    main()
