"""``python -m benchmarks [backlog] [latency]``: measure and print; nothing is asserted."""

import argparse
import asyncio
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.backlog import measure_backlog, measure_naive
from benchmarks.latency import measure_latency
from benchmarks.rig import Figures


def main() -> None:
    """Run what was asked for, or everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("which", nargs="*", choices=["backlog", "latency", []], help="default: all")
    parser.add_argument("--changes", type=int, default=9_000, help="of the backlog")
    parser.add_argument("--mailboxes", type=int, default=1_500)
    parser.add_argument("--latency-ms", type=float, default=30.0, help="of the stand-in, a request")
    options = parser.parse_args()
    which = options.which or ["backlog", "latency"]
    console = Console()
    with tempfile.TemporaryDirectory(prefix="calsync-bench-") as folder:
        if "backlog" in which:
            ours = asyncio.run(measure_backlog(Path(folder), options.changes, options.mailboxes, options.latency_ms))
            naive = asyncio.run(measure_naive(Path(folder), 150, options.latency_ms))
            _print(console, "Backlog, each job changed once", [ours, naive])
            console.print(f"{ours.values['writes/s'] / naive.values['writes/s']:.0f} × a poll-post-commit loop\n")
        if "latency" in which:
            rows = [asyncio.run(measure_latency(Path(folder), rate, 10.0)) for rate in (50, 200)]
            _print(console, "From the commit to Graph's answer, stand-in answers at once", rows)


def _print(console: Console, title: str, rows: list[Figures]) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in rows[0].values:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.name, *(f"{row.values.get(name, float('nan')):,.2f}" for name in rows[0].values))
    console.print(table)


if __name__ == "__main__":
    main()
