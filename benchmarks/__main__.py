"""``python -m benchmarks [backlog] [latency] [sweep] [outage]``: measure and print; nothing is asserted."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.backlog import measure_backlog, measure_naive
from benchmarks.latency import measure_latency
from benchmarks.outage import measure_outage
from benchmarks.rig import Figures
from benchmarks.sweep import Size, measure_sweep

USUAL = ("backlog", "latency", "sweep")
WHICH = (*USUAL, "outage")
"""The outage is not a default: it takes minutes, and needs a real Kafka and Redis."""


def main() -> None:
    """Runs the named benchmarks, or the default ones."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("which", nargs="*", choices=[*WHICH, []], help=f"default: {', '.join(USUAL)}")
    parser.add_argument("--changes", type=int, default=9_000, help="of the backlog")
    parser.add_argument("--mailboxes", type=int, help="default: 1,500 for the backlog, 2,000 for the sweep")
    parser.add_argument("--events", type=int, default=20, help="a mailbox, of the sweep")
    parser.add_argument("--sweeps", type=int, default=5, help="idle ones; their median counts")
    parser.add_argument("--jobs", type=int, default=18_000, help="of the outage, each changed 20 times")
    parser.add_argument("--stock-redis", action="store_true", help="sweep with Debian's Redis, not the embedded Valkey")
    parser.add_argument("--latency-ms", type=float, default=30.0, help="of the stand-in, a request of the backlog")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    options = parser.parse_args()
    console = Console(stderr=options.json)
    document: dict[str, list[dict[str, float | str]]] = {}
    with tempfile.TemporaryDirectory(prefix="calsync-bench-") as folder:
        for name, title, rows in _measure(options, Path(folder)):
            document[name] = [{"name": row.name, **row.values} for row in rows]
            if not options.json:
                console.print(title, _table(rows), sep="\n")
    if options.json:
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")


def _measure(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, str, list[Figures]]]:
    which = options.which or USUAL
    if "backlog" in which:
        ours = asyncio.run(measure_backlog(folder, options.changes, options.mailboxes or 1_500, options.latency_ms))
        naive = asyncio.run(measure_naive(folder, 150, options.latency_ms))
        factor = ours.values["writes/s"] / naive.values["writes/s"]
        yield "backlog", f"Backlog, each job changed once: {factor:.0f} × a poll-post-commit loop", [ours, naive]
    if "latency" in which:
        rows = [asyncio.run(measure_latency(folder, rate, 10.0)) for rate in (50, 200)]
        yield "latency", "From the commit to Graph's answer, stand-in answers at once", rows
    if "sweep" in which:
        mailboxes = options.mailboxes or 2_000
        # A tenth of the site beside the whole shows what grows with its size.
        sizes = [Size(max(1, mailboxes // 10), options.events), Size(mailboxes, options.events)]
        pairs = [
            asyncio.run(measure_sweep(folder, size, options.sweeps, stock_redis=options.stock_redis)) for size in sizes
        ]
        yield "sweep_cold", "Cold sweep, mailboxes × events: everything to create", [cold for cold, _ in pairs]
        yield "sweep_idle", f"Idle sweep, median of {options.sweeps}: nothing to repair", [idle for _, idle in pairs]
    if "outage" in which:
        rows = [asyncio.run(measure_outage(folder, options.jobs, 20))]
        yield "outage", "An hour without Graph, jobs × changes each, Kafka and Redis as they are", rows


def _table(rows: list[Figures]) -> Table:
    """One line for each measure: there are too many for columns."""
    table = Table()
    table.add_column("")
    for row in rows:
        table.add_column(row.name, justify="right")
    for name in rows[0].values:
        table.add_row(name, *(_shown(row.values.get(name)) for row in rows))
    return table


def _shown(value: float | None) -> str:
    """Three digits at least."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


if __name__ == "__main__":
    main()
