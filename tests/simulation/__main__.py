"""Plays many stories on every core (``make sim SEEDS=1000``). Exit code 1 if one of them fails."""

import argparse
import os
import signal
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

import structlog

from tests.simulation.loop import simulate
from tests.simulation.story import KINDS, Story

COMMAND = ".venv/bin/python -m tests.simulation"
STUCK_SECONDS = 120
"""A story that takes this long, in real time, does not end."""


def play(kind: str, seed: int) -> str:
    """The problems at the end of one story; empty if there are none."""
    structlog.configure(processors=[_drop])
    signal.signal(signal.SIGALRM, _stuck)
    signal.alarm(STUCK_SECONDS)
    try:
        return result(Story(KINDS[kind], seed))
    finally:
        signal.alarm(0)


def result(story: Story) -> str:
    """The problems at the end of a story; empty if there are none."""
    try:
        simulate(story.play())
    except Exception as failure:  # noqa: BLE001 (one story's error must not end the others)
        place = traceback.extract_tb(failure.__traceback__)[-1]
        # A bare assertion has no text of its own.
        return str(failure) or f"{failure!r} at {place.name}, {place.filename}:{place.lineno}"
    return ""


def _stuck(*_: Any) -> None:
    raise TimeoutError(f"not over within {STUCK_SECONDS} s")


def _drop(*_: Any) -> Any:
    raise structlog.DropEvent


def main() -> int:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds of each kind")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only stories of this kind")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds)
    stories = [(kind, seed) for seed in seeds for kind in options.kind or KINDS]
    started, failed = time.monotonic(), 0
    with ProcessPoolExecutor(options.workers) as pool:
        played = {pool.submit(play, *story): story for story in stories}
        for number, future in enumerate(as_completed(played), 1):
            (kind, seed), wrong = played[future], future.result()
            if wrong:
                failed += 1
                print(f"\n{kind}, seed {seed}: {wrong}")
                print(f"  again: {COMMAND} --kind {kind} --first {seed} --seeds 1", flush=True)
            elif number % 50 == 0:
                print(f"{number} of {len(stories)} stories, {failed} failed", flush=True)
    print(f"{len(stories)} stories in {time.monotonic() - started:.0f} s, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
