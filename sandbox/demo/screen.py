"""What the terminal shows: a growing table while it goes on, and a summary. Plain lines where it is no terminal."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.status import Status
from rich.table import Table
from rich.text import Text

from sandbox.demo.company import MAILBOXES, PARKED, Mailbox
from sandbox.demo.outlook import Calendars, live, local, title
from sandbox.demo.watch import Seen

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri")
_PLAIN_WIDTH: Final = 140
_ROWS_OF_OTHERS: Final = 8
"""Lines of the terminal that are not the table's rows."""


class Screen:
    """One terminal, or what stands in for it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: list[Seen] = []
        self._live: Live | None = None

    @classmethod
    def on_stdout(cls) -> "Screen":
        """The terminal that this process has; a fixed width where it has none."""
        console = Console(highlight=False)
        return cls(console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH))

    @property
    def is_terminal(self) -> bool:
        """Whether somebody watches."""
        return self._console.is_terminal

    @contextmanager
    def starting(self) -> Iterator["Starting"]:
        """While the servers start."""
        if not self.is_terminal:
            yield Starting(self._console, None)
            return
        with self._console.status("Starting") as status:
            yield Starting(self._console, status)

    def addresses(self, addresses: Sequence[tuple[str, str]]) -> None:
        """Where to look oneself."""
        table = Table.grid(padding=(0, 2))
        for what, url in addresses:
            table.add_row(what, url)
        self._console.print(table)
        self._console.print()

    @contextmanager
    def playing(self) -> Iterator[None]:
        """While steps are shown; the table stays when it is over."""
        if not self.is_terminal:
            yield
            return
        with Live(console=self._console, auto_refresh=True, transient=True) as self._live:
            yield
        self._live = None
        self._console.print(_steps(self._seen))

    def doing(self, what: str) -> None:
        """A step begins."""
        if self._live is not None:
            room = max(5, self._console.height - _ROWS_OF_OTHERS)
            self._live.update(Group(_steps(_newest(self._seen, room)), Spinner("dots", escape(what))))

    def show(self, seen: Seen) -> None:
        """A step has ended."""
        self._seen.append(seen)
        if self._live is None:
            line = f"{_figure(seen):>10}  {seen.step.what} | {'; '.join(_outlook(seen))}"
            self._console.print(line, markup=False, soft_wrap=True)
        else:
            room = max(5, self._console.height - _ROWS_OF_OTHERS)
            self._live.update(Group(_steps(_newest(self._seen, room)), Text(self._figures(), style="dim")))

    def summary(self, calendars: Calendars, differences: Sequence[str]) -> None:
        """The calendars, how long it took, and whether they are right."""
        self._console.print()
        self._console.print(_week(calendars))
        self._console.print(f"\n{self._figures()}", markup=False)
        parked = ", ".join(sorted(PARKED))
        self._console.print(f"Without a licence, and therefore parked and not judged: {parked}", markup=False)
        if not differences:
            self._console.print("[green]The calendars are equal to Core's schedule.[/]")
            return
        self._console.print("[red]The calendars differ from Core's schedule:[/]")
        for difference in differences:
            self._console.print(f"  {difference}", markup=False, soft_wrap=True)

    def fault(self, message: str) -> None:
        """Something failed."""
        self._console.print(Text(message, style="red"), soft_wrap=True)

    def tell(self, message: str) -> None:
        """Something worth a line."""
        self._console.print(message, markup=False, soft_wrap=True)

    def _figures(self) -> str:
        shown = [seen.milliseconds for seen in self._seen if seen.milliseconds is not None and not seen.step.still]
        if not shown:
            return "No change has reached a calendar yet."
        return (
            f"{len(shown)} changes, from the commit in Core to the calendar: "
            f"p50 {median(shown):.0f} ms, max {max(shown):.0f} ms"
        )


class Starting:
    """Tells what is being started."""

    def __init__(self, console: Console, status: Status | None) -> None:
        self._console = console
        self._status = status

    def tell(self, what: str) -> None:
        """This one now."""
        if self._status is None:
            self._console.print(f"Starting {what}", markup=False, soft_wrap=True)
        else:
            self._status.update(f"Starting {escape(what)}")


def _figure(seen: Seen) -> str:
    return "never" if seen.milliseconds is None else f"{seen.milliseconds:.0f} ms"


def _outlook(seen: Seen) -> list[str]:
    if seen.differences:
        return [*seen.news, *(f"WRONG: {difference}" for difference in seen.differences)]
    return seen.news or [seen.step.still or "(nothing new)"]


def _newest(seen: Sequence[Seen], lines: int) -> Sequence[Seen]:
    """The last steps that fit on so many lines."""
    for first in range(len(seen) - 1, -1, -1):
        lines -= max(1, len(_outlook(seen[first])))
        if lines < 0:
            return seen[first + 1 :]
    return seen


def _steps(seen: Sequence[Seen]) -> Table:
    table = Table("What happened in Core", "What Outlook shows now", expand=False, show_edge=False)
    table.add_column("after", justify="right", style="green", no_wrap=True)
    for each in seen:
        style = "red" if each.differences else "dim" if each.step.still else ""
        table.add_row(escape(each.step.what), Text("\n".join(_outlook(each)), style=style), _figure(each))
    return table


def _week(calendars: Calendars) -> RenderableType:
    table = Table("Mailbox", *_DAYS, title="The calendars, each in its own time zone", title_justify="left")
    for mailbox in MAILBOXES:
        days: list[list[tuple[str, str]]] = [[] for _ in _DAYS]
        for event in live(calendars.get(mailbox.address, ())):
            start = local(event["start"], mailbox.zone)
            if start.weekday() < len(_DAYS):
                days[start.weekday()].append((f"{start:%H:%M}", title(event)))
        cells = [Text("\n".join(f"{hour} {what}" for hour, what in sorted(day))) for day in days]
        table.add_row(_owner(mailbox), *cells, end_section=True)
    return table


def _owner(mailbox: Mailbox) -> Text:
    state = "" if mailbox.state == "ok" else f"\n({mailbox.state})"
    return Text(f"{mailbox.label}\n{mailbox.zone.key}{state}")
