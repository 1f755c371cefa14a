"""Shows the demo on the terminal: a growing table, then a summary. If the output is not a terminal, plain lines."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sandbox.demo.company import MAILBOXES, PARKED, Mailbox
from sandbox.demo.outlook import Calendars, live, local, title
from sandbox.demo.watch import Seen

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri")
_PLAIN_WIDTH: Final = 140
_ROWS_OF_OTHERS: Final = 3
"""The lines of the terminal that are not rows of the table."""
_REMEMBERED: Final = 1000
_ROWS_KEPT: Final = 100
"""The steps that stay on the terminal at the end."""


class Screen:
    """One terminal, or another output."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: deque[Seen] = deque(maxlen=_REMEMBERED)
        self._on_show: deque[Seen] = deque(maxlen=_REMEMBERED)
        self._live: Live | None = None

    @classmethod
    def on_stdout(cls) -> "Screen":
        """Returns the screen on this process's output. If that is not a terminal, it has a fixed width."""
        console = Console(highlight=False)
        return cls(console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH))

    @property
    def is_terminal(self) -> bool:
        """Whether the output is a terminal."""
        return self._console.is_terminal

    @contextmanager
    def starting(self) -> Iterator[Callable[[str], None]]:
        """A context for the start of the servers. It yields a function that shows which server starts."""
        if not self.is_terminal:
            yield lambda what: self._console.print(f"Starting {what}", markup=False, soft_wrap=True)
            return
        with self._console.status("Starting") as status:
            yield lambda what: status.update(f"Starting {escape(what)}")

    def addresses(self, addresses: Sequence[tuple[str, str]]) -> None:
        """Shows the addresses of the service and the stand-ins."""
        table = Table.grid(padding=(0, 2))
        for what, url in addresses:
            table.add_row(what, url)
        self._console.print(table)
        self._console.print()

    @contextmanager
    def playing(self) -> Iterator[None]:
        """A context in which steps are shown. The table stays at the end."""
        if not self.is_terminal:
            yield
            return
        # The table is drawn only when something changes: a thread that redraws would disturb the measured times.
        with Live(console=self._console, auto_refresh=False, transient=True) as self._live:
            yield
        self._live = None
        self._console.print(_steps(list(self._seen)[-_ROWS_KEPT:]))

    def doing(self, what: str) -> None:
        """Shows that a step begins."""
        self._draw(f"… {what}")

    def show(self, seen: Seen) -> None:
        """Shows the result of a step."""
        self._seen.append(seen)
        self._on_show.append(seen)
        if not self.is_terminal:
            line = f"{_figure(seen):>10}  {seen.step.what} | {'; '.join(_outlook(seen))}"
            self._console.print(line, markup=False, soft_wrap=True)
        self._draw(f"{self._figures()}. Ctrl-C ends it.")

    def _draw(self, below: str) -> None:
        """Draws the newest steps that fit on the terminal, and a line below them."""
        if self._live is None:
            return
        room = self._console.height - _ROWS_OF_OTHERS
        while len(self._console.render_lines(_steps(self._on_show))) > room and len(self._on_show) > 1:
            self._on_show.popleft()
        self._live.update(Group(_steps(self._on_show), Text(), Text(below, style="dim")), refresh=True)

    def summary(self, calendars: Calendars, differences: Sequence[str]) -> None:
        """Shows the calendars, how long the changes took, and whether the calendars are correct."""
        self._console.print()
        self._console.print(_week(calendars))
        self._console.print(f"\n{self._figures()} (the stand-in for Graph answers at once)", markup=False)
        parked = ", ".join(sorted(PARKED))
        self._console.print(f"Without a licence, so parked and not checked: {parked}", markup=False)
        if not differences:
            self._console.print("[green]The calendars are equal to Core's schedule.[/]")
            return
        self._console.print("[red]The calendars differ from Core's schedule:[/]")
        for difference in differences:
            self._console.print(f"  {difference}", markup=False, soft_wrap=True)

    def fault(self, message: str) -> None:
        """Shows a failure."""
        self._console.print(Text(message, style="red"), soft_wrap=True)

    def _figures(self) -> str:
        changes = [seen for seen in self._seen if not (seen.step.still or seen.step.swept)]
        shown = [seen.milliseconds for seen in changes if seen.milliseconds is not None]
        if not shown:
            return "No change has reached a calendar yet"
        return f"{len(shown)} changes from Core to the calendar: p50 {median(shown):.0f} ms, max {max(shown):.0f} ms"


def _figure(seen: Seen) -> str:
    return "never" if seen.milliseconds is None else f"{seen.milliseconds:.0f} ms"


def _outlook(seen: Seen) -> list[str]:
    if seen.differences:
        return [*seen.news, *(f"WRONG: {difference}" for difference in seen.differences)]
    if seen.step.swept:
        return [seen.step.swept]
    return seen.news or [seen.step.still or "(nothing new)"]


def _steps(seen: Iterable[Seen]) -> Table:
    table = Table("What happened in Core", "What Outlook shows now", expand=False, show_edge=False)
    table.add_column("after", justify="right", style="green", no_wrap=True)
    for each in seen:
        style = "red" if each.differences else "dim" if each.step.still else ""
        table.add_row(escape(each.step.what), Text("\n".join(_outlook(each)), style=style), _figure(each))
    return table


def _week(calendars: Calendars) -> RenderableType:
    table = Table(title="The calendars, each in its own time zone", title_justify="left")
    table.add_column("Mailbox", no_wrap=True)
    for day in _DAYS:
        table.add_column(day)
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
