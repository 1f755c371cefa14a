"""``calsync run``."""

import typer

from consumer import app
from consumer.cli.console import configured, run_until_done

cli = typer.Typer(add_completion=False)


@cli.command()
def run() -> None:
    """Consume the topic and keep the calendars, until SIGTERM."""
    raise typer.Exit(run_until_done(app.run(configured())))
