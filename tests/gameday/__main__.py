"""The game day: real monitoring beside the real service, and one fault after another: `python -m tests.gameday`.

For each fault, exactly one notification must reach the pager, the right one, with the right words; and all must be
clear after the repair. Prints a table of fault, notification and seconds.

Exit codes: 0 as expected; 1 something was not; 2 wrong usage; 130 interrupted.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import httpx
from rich.console import Console
from rich.table import Table

from sandbox.servers.process import ServerFailedError
from tests.gameday.day import CALM_MINUTES, Result, calm, late_pages, play
from tests.gameday.faults import FAULTS, SITE, Fault
from tests.gameday.monitoring import ALERTMANAGER, RULES, Sources
from tests.gameday.pager import told
from tests.gameday.queries import Queries
from tests.gameday.world import found_world

FACTOR: Final = 12.0
"""An hour takes 5 minutes. The bound on a change's latency, a minute, becomes 5 s: a bucket of its histogram."""
LINGER_MINUTES: Final = 18.0
"""Long enough for the slowest consequence that pages: a site not swept for 15 minutes, for 2 minutes."""
QUICK_FACTOR: Final = 20.0
QUICK_LINGER_MINUTES: Final = 4.0


class Progress:
    """What happens, on standard error: a line for each fault, and on a terminal one for the moment."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def show(self, name: str, doing: str) -> None:
        if self._terminal:
            position = f"[{self._names.index(name) + 1}/{len(self._names)}] " if name in self._names else ""
            line = f"{self._time()} {position}{name}: {doing}"[: shutil.get_terminal_size().columns - 1]
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

    def line(self, text: str) -> None:
        print(("\r\x1b[K" if self._terminal else "") + f"{self._time()} {text}", file=sys.stderr, flush=True)

    def _time(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        return f"{minutes:02}:{seconds:02}"


async def run(options: argparse.Namespace, faults: Sequence[Fault], folder: Path) -> tuple[list[Result], list[str]]:
    """Plays the faults. Returns their results, and what is wrong beside them."""
    progress = Progress([fault.name for fault in faults])
    sources = Sources(options.rules, options.alertmanager)
    results: list[Result] = []
    progress.show("world", "starts")
    async with found_world(folder, options.factor, sources, debezium=options.debezium) as world:
        progress.line(f"the world runs; its logs are in {folder}")
        await calm(world, lambda: True, CALM_MINUTES, partial(progress.show, "world"))
        queries = Queries.of_this_repository(SITE)
        for fault in faults:
            result = await play(world, fault, options.linger, queries, partial(progress.show, fault.name))
            results.append(result)
            progress.line(f"{fault.name}: {'FAILED' if result.problems else 'as expected'}")
            for problem in result.problems:
                progress.line(f"    {problem}")
            for alert in result.alerts if result.problems else ():
                progress.line(f"        {alert}")
        wrong: list[str] = []
        if not options.faults and not options.quick:
            wrong += await late_pages(world, partial(progress.show, "world"))
            wrong += queries.problems()
        wrong += await unreachable_runbooks(results)
        world.planning = False
        await asyncio.sleep(3)
        wrong += [f"the calendars differ from Core's schedule: {each}" for each in (await world.differences())[:5]]
    return results, wrong


async def unreachable_runbooks(results: Sequence[Result]) -> list[str]:
    """Returns a line for each runbook of a page that the service does not serve."""
    pages = {alert.name: alert for result in results if result.paged for alert in result.paged.firing}
    wrong: list[str] = []
    async with httpx.AsyncClient() as client:
        for name, alert in pages.items():
            url = alert.annotations.get("runbook_url", "")
            try:
                answer = await client.get(url)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                wrong.append(f"the runbook of {name}, {url}: {error!r}")
            else:
                if answer.status_code != 200 or name not in answer.text:
                    wrong.append(f"the runbook of {name}, {url}: {answer.status_code}")
    return wrong


def table(results: Sequence[Result]) -> Table:
    """Returns the results as a table."""
    drawn = Table("fault", "notification", "seconds", "clear after", "tickets", "", box=None, pad_edge=False)
    for result in results:
        page = "none" if result.paged is None else told(result.paged.firing)
        page += f" (updated {result.updates} ×)" if result.updates else ""
        drawn.add_row(
            result.fault.what,
            page,
            "" if result.paged_after is None else f"{result.paged_after:.0f}",
            "" if result.cleared_after is None else f"{result.cleared_after:.0f}",
            ", ".join(name.removeprefix("Calsync") for name in result.tickets),
            "FAILED" if result.problems else "ok",
        )
    return drawn


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.gameday", description="The game day")
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"of these: {', '.join(f.name for f in FAULTS)}")
    parser.add_argument("--quick", action="store_true", help="only the few faults that every change must pass")
    parser.add_argument("--json", action="store_true", help="print a JSON document in place of the table")
    parser.add_argument("--factor", type=float, help=f"divides every time (default: {FACTOR:g})")
    parser.add_argument(
        "--linger",
        type=float,
        help=f"minutes, before division, that a fault stays after its page (default: {LINGER_MINUTES:g})",
    )
    parser.add_argument(
        "--debezium", action="store_true", help="Core's feed is PostgreSQL and Debezium (needs PostgreSQL 15)"
    )
    parser.add_argument("--rules", type=Path, default=RULES, help="try this file of rules in place of the chart's")
    parser.add_argument("--alertmanager", type=Path, default=ALERTMANAGER, help="try this Alertmanager configuration")
    return parser


def main() -> int:
    """Reads the command line, plays the day, and prints what came of it."""
    options = (command := parser()).parse_args()
    known = {fault.name: fault for fault in FAULTS}
    if unknown := [name for name in options.faults if name not in known]:
        command.error(f"unknown fault: {', '.join(unknown)}")
    if missing := [str(file) for file in (options.rules, options.alertmanager) if not file.exists()]:
        command.error(f"no such file: {', '.join(missing)}")
    chosen = [fault for fault in FAULTS if fault.quick] if options.quick else list(FAULTS)
    if options.faults:
        chosen = [known[name] for name in options.faults]
    options.factor = options.factor or (QUICK_FACTOR if options.quick else FACTOR)
    if options.linger is None:
        options.linger = QUICK_LINGER_MINUTES if options.quick else LINGER_MINUTES
    folder = Path(tempfile.mkdtemp(prefix="gameday-"))
    try:
        results, wrong = asyncio.run(run(options, chosen, folder))
    except KeyboardInterrupt:
        return 130
    except ServerFailedError as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({"faults": [result.document for result in results], "problems": wrong}, indent=2))
    else:
        Console(width=None if sys.stdout.isatty() else 200).print(table(results))
        for each in wrong:
            print(each)
    if wrong or any(result.problems for result in results):
        print(f"the logs are in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
