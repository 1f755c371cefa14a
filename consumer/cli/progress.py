"""How far a sweep is, on a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from consumer.sync.report import Report


@contextmanager
def counted_progress(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Draw a bar while open, on a terminal. Yields a function to call with how much is done, and of how much."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def sweep_progress(console: Console) -> Iterator[Callable[[Report], None]]:
    """Draws a bar while open, on a terminal; what it gives is to be called whenever a report has grown.

    How many mailboxes there will be is not known before Core's list has ended, so sites fill the bar.
    """
    mailboxes: dict[str, int] = {}
    done: set[str] = set()
    columns = (
        TextColumn("sweeping"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("sites, {task.fields[mailboxes]} mailboxes"),
        TimeElapsedColumn(),
    )
    # Elsewhere than on a terminal rich would print the last state of the bar, among the log's lines.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("sweep", total=None, mailboxes=0)

        def grown(report: Report) -> None:
            mailboxes[report.site_id] = report.mailboxes
            if report.done:
                done.add(report.site_id)
            bar.update(task, total=len(mailboxes), completed=len(done), mailboxes=sum(mailboxes.values()))

        yield grown
