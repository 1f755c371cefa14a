"""``calsync run``."""

import asyncio
import os
import signal

import typer

from consumer import app
from consumer.cli.console import configured, run_until_done
from consumer.ops import logging, tracing
from consumer.settings import Settings

cli = typer.Typer(add_completion=False)


@cli.command()
def run() -> None:
    """Consume the topic and keep the calendars, until SIGTERM."""
    raise typer.Exit(run_until_done(_run(configured())))


async def _run(settings: Settings) -> int:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, logging.toggle_debug)
    end_traces = tracing.start(os.environ)
    try:
        return await app.run(settings)
    finally:
        await asyncio.to_thread(end_traces)
