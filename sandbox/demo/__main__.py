"""`python -m sandbox.demo`: plays a week of a small inspection company, then random changes until Ctrl-C."""

import argparse
import asyncio
import shutil
import signal
import sys
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Final

import httpx

from sandbox.control import GraphControl
from sandbox.demo.core import CoreControl
from sandbox.demo.planner import next_change
from sandbox.demo.screen import Screen
from sandbox.demo.story import Outside, week_of
from sandbox.demo.watch import Watch
from sandbox.demo.world import World, last_lines, running
from sandbox.servers.process import REPOSITORY, ServerFailedError

_FOLDER: Final = REPOSITORY / ".demo"
_WITHIN_SECONDS: Final = 15.0
_INTERRUPTED: Final = 130


def main() -> int:
    """Plays the demo. Returns 0 if the calendars equal Core's schedule at the end, otherwise 1."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="play the week once, then end")
    parser.add_argument(
        "--logs", type=Path, help=f"folder of the logs (default: {_FOLDER.name}, which is emptied first)"
    )
    parser.add_argument("--pace", type=float, help="seconds between two steps (default: 1 on a terminal)")
    options = parser.parse_args()

    screen = Screen.on_stdout()
    pace = options.pace if options.pace is not None else 1.0 if screen.is_terminal or not options.once else 0.0
    folder = _fresh(options.logs)
    try:
        with ExitStack() as servers:
            with screen.starting() as report:
                world = servers.enter_context(running(folder, report))
            try:
                return asyncio.run(_play(world, screen, once=options.once, pace=pace))
            except (ServerFailedError, httpx.HTTPError) as error:
                # This must come before the servers stop, so that the last lines of their logs show the fault.
                screen.fault(f"{world.ended() or error}\n\nThe logs end with:\n{last_lines(folder)}")
                return 1
    except (ServerFailedError, httpx.HTTPError) as error:
        screen.fault(f"{error}\n\nLogs: {folder}")
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED


def _fresh(logs: Path | None) -> Path:
    if logs is None:
        shutil.rmtree(_FOLDER, ignore_errors=True)
    folder = logs or _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


async def _play(world: World, screen: Screen, *, once: bool, pace: float) -> int:
    """Plays all steps, or those before Ctrl-C, then shows the summary."""
    screen.addresses(
        [
            ("The service", f"{world.service.url}/metrics  /readyz  /livez"),
            ("What Outlook shows", f"{world.stack.graph_url}/_sandbox/events"),
            ("Core's schedule", f"{world.stack.core_url}/_sandbox/schedule"),
            ("Logs", str(world.stack.folder)),
        ]
    )
    async with (
        CoreControl(world.stack.core_url) as core,
        GraphControl(world.stack.graph_url) as graph,
        httpx.AsyncClient(base_url=world.service.url, timeout=10) as service,
    ):
        outside = Outside(core, graph)
        watch = Watch(outside, service, world.check, _WITHIN_SECONDS)
        steps = asyncio.create_task(_steps(watch, outside, screen, once=once, pace=pace))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, steps.cancel)
        code = _INTERRUPTED if once else 0
        with screen.playing(), suppress(asyncio.CancelledError):
            code = 0 if await steps else 1
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        calendars, differences = await watch.settle()
    screen.summary(calendars, differences)
    if differences or code == 1:
        screen.fault(f"\nThe logs end with:\n{last_lines(world.stack.folder)}")
    return 1 if differences else code


async def _steps(watch: Watch, outside: Outside, screen: Screen, *, once: bool, pace: float) -> bool:
    """Plays the steps and returns whether each reached the calendars. Stops after one that did not."""
    random = Random()
    week = iter(week_of(datetime.now(UTC)))
    while True:
        step = next(week, None)
        if step is None:
            if once:
                return True
            step = next_change(await outside.core.schedule(), datetime.now(UTC), random)
        screen.doing(step.what)
        seen = await watch.observe(step)
        screen.show(seen)
        if seen.differences:
            return False
        await asyncio.sleep(pace)


if __name__ == "__main__":
    sys.exit(main())
