"""Turns: which lane runs next, so that a few slow tenants cannot hold every run and starve the rest."""

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator
from typing import Final, Generic, TypeVar

LaneT = TypeVar("LaneT", bound=Hashable)

SERVED_SHARE: Final = 4.0
"""How many runs an app may hold for each free run, while it is served.

A share of what is free, as switches share their buffers (Choudhury and Hahne, "Dynamic queue length thresholds for
shared-memory packet switches", 1998): one busy app has four fifths of all runs, ten have an even share, and a few runs
are always free for an app that begins.
"""
TROUBLED_SHARE: Final = 1 / 32
"""The same for an app that has not been served recently, which may hold one run more: its requests may hang."""
SERVED_SECONDS: Final = 10.0
"""An app is served if one of its runs ended well within this time."""


class Slots:
    """The runs that may be under way at once, shared between apps."""

    def __init__(self, size: int, monotonic: Callable[[], float]) -> None:
        self.free = size
        self._monotonic = monotonic
        self._running: Counter[str] = Counter()
        self._well_at: dict[str, float] = {}

    def may_start(self, app: str) -> bool:
        """Whether the app may hold one more run."""
        running = self._running[app]
        if self.is_served(app):
            return running < self.free * SERVED_SHARE
        return self.free > 0 and running < 1 + self.free * TROUBLED_SHARE

    def is_served(self, app: str) -> bool:
        """Whether a run of the app has ended well recently."""
        return self._monotonic() - self._well_at.get(app, float("-inf")) < SERVED_SECONDS

    def start(self, app: str) -> None:
        """A run of the app begins."""
        self.free -= 1
        self._running[app] += 1

    def end(self, app: str, *, well: bool) -> None:
        """A run of the app has ended; ``well``: it did not fail."""
        self.free += 1
        self._running[app] -= 1
        if not self._running[app]:
            del self._running[app]
        if well:
            self._well_at[app] = self._monotonic()


class Turns(Generic[LaneT]):
    """Lanes that wait for a run: one of each app in turn; within an app, first come, first served."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._apps: dict[str, deque[LaneT]] = {}
        """Apps that may have a turn, the next one first."""
        self._crowded: dict[str, deque[LaneT]] = {}
        """Apps that are served and hold their share, which grows with every run that ends."""
        self._troubled: dict[str, deque[LaneT]] = {}
        """Apps that are not served and hold their share, until one of their runs ends."""

    def __bool__(self) -> bool:
        return bool(self._apps)

    def __iter__(self) -> Iterator[LaneT]:
        for lanes in self._apps.values():
            yield from lanes

    def add(self, app: str, lane: LaneT) -> None:
        """The lane waits for a run from now on."""
        for apps in (self._crowded, self._troubled):
            if app in apps:
                apps[app].append(lane)
                return
        self._apps.setdefault(app, deque()).append(lane)

    def remove(self, app: str, lane: LaneT) -> None:
        """The lane waits no longer."""
        for apps in (self._apps, self._crowded, self._troubled):
            if app in apps and lane in apps[app]:
                apps[app].remove(lane)
                if not apps[app]:
                    del apps[app]
                return

    def take(self) -> LaneT | None:
        """Take the lane whose turn it is; ``None`` if every waiting app holds its share."""
        while self._apps:
            app = next(iter(self._apps))
            lanes = self._apps.pop(app)
            if not self._slots.may_start(app):
                (self._crowded if self._slots.is_served(app) else self._troubled)[app] = lanes
                continue
            lane = lanes.popleft()
            if lanes:
                self._apps[app] = lanes
            return lane
        return None

    def ended(self, app: str) -> None:
        """A run of the app has ended: the app may have a turn again, and so may crowded apps, because a run is free."""
        if app in self._troubled:
            self._apps[app] = self._troubled.pop(app)
        if self._crowded:
            self._apps |= self._crowded
            self._crowded.clear()
