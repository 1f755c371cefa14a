"""People at their calendars: they edit, drag, copy and delete our events, and add data that must survive."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random

from consumer.domain.event import RemoteEvent
from tests.simulation.outlook import WatchedOutlook


@dataclass(frozen=True)
class Added:
    """A category that a person gave to an event of ours."""

    address: str
    tag: str
    event_id: str
    name: str
    at: float
    """On the monotonic clock."""


@dataclass
class People:
    """What people do, at random."""

    outlook: WatchedOutlook
    random: Random
    added: list[Added] = field(default_factory=list)
    touched: set[tuple[str, str]] = field(default_factory=set)
    """(address, tag) of events that a person has changed: a sweep must repair them."""
    copied: set[tuple[str, str]] = field(default_factory=set)
    """(address, tag) of events that a person has copied."""
    deleted: set[str] = field(default_factory=set)
    """Ids of the events that people deleted themselves."""
    _count: int = 0

    def act(self) -> None:
        """One person does something to one of our events, if there is one."""
        ours = [(a, event) for a, box in sorted(self.outlook.events.items()) for event in box.values() if event.tag]
        if not ours:
            return
        address, event = self.random.choice(ours)
        kinds = ["edit", "drag", "drag away", "delete", "copy", "categorise", "categorise", "categorise"]
        self.do(self.random.choice(kinds), address, event)

    def do(self, kind: str, address: str, event: RemoteEvent) -> None:
        """Does this to this event."""
        box = self.outlook.events[address]
        event_id, pair = event.event_id, (address, str(event.tag))
        self._count += 1
        etag = f'W/"person-{self._count}"'
        if kind == "categorise":
            name = f"category {self._count}"
            box[event_id] = replace(event, etag=etag)
            self.outlook.categories.setdefault(event_id, set()).add(name)
            self.added.append(Added(*pair, event_id, name, self.outlook.clock.monotonic()))
            return
        self.touched.add(pair)
        match kind:
            case "edit":
                box[event_id] = replace(event, subject="Mine now", etag=etag)
            case "drag" | "drag away":
                by = timedelta(hours=3) if kind == "drag" else timedelta(days=60)
                assert event.start is not None
                assert event.end is not None
                box[event_id] = replace(event, start=event.start + by, end=event.end + by, etag=etag)
            case "delete":
                del box[event_id]
                self.outlook.categories.pop(event_id, None)
                self.deleted.add(event_id)
            case "copy":
                self.copied.add(pair)
                copy_id = self.outlook.new_id()
                box[copy_id] = replace(event, event_id=copy_id, etag=etag, created=self.outlook.clock.now())
                self.outlook.copies.add(copy_id)
                if event_id in self.outlook.categories:
                    self.outlook.categories[copy_id] = set(self.outlook.categories[event_id])
            case _:
                raise ValueError(kind)
