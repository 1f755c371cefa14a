"""Trouble that repeats: logged at once, then once a minute with how often it came, and once when it has ended."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

from consumer.domain.bounded_dict import BoundedDict

REPEAT_SECONDS: Final = 60.0
"""How often trouble that lasts is logged."""
_KINDS: Final = 1_000
"""How many kinds of trouble are remembered. The oldest is forgotten, and then logged at once when it comes again."""

Write = Callable[..., object]
"""A method of a logger: ``log.warning``."""


@dataclass(slots=True)
class _Seen:
    since: float
    logged_at: float
    unlogged: int = 0
    lasts: bool = True


class Repeated:
    """Keeps trouble from filling the log. For one thread.

    A kind of trouble that ends and soon begins again is not logged at once a second time, so each kind costs at most
    two lines a minute.
    """

    def __init__(self, monotonic: Callable[[], float], *, most: int = _KINDS) -> None:
        """``monotonic`` is in seconds."""
        self._monotonic = monotonic
        self._seen: BoundedDict[Hashable, _Seen] = BoundedDict(most)

    def happened(self, kind: Hashable, write: Write, event: str, /, **fields: Any) -> None:
        """Note that this kind of trouble happened, and log it if that is due.

        The line has the newest ``fields`` and, if it stands for more than one time, ``repeated``: how often the trouble
        came since the line before it.
        """
        now = self._monotonic()
        seen = self._seen.get(kind)
        if seen is None:
            self._seen[kind] = _Seen(now, now)
        else:
            if not seen.lasts:
                seen.since, seen.lasts = now, True
            seen.unlogged += 1
            if now - seen.logged_at < REPEAT_SECONDS:
                return
            seen.logged_at = now
            if seen.unlogged > 1:
                fields["repeated"] = seen.unlogged
            seen.unlogged = 0
        write(event, **fields)

    def ended(self, kind: Hashable, write: Write, event: str, /, **fields: Any) -> None:
        """Log that this kind of trouble has ended, with how many seconds it lasted; nothing if there was none."""
        seen = self._seen.get(kind)
        if seen is None or not seen.lasts:
            return
        seen.lasts = False
        if seen.logged_at >= seen.since:
            write(event, seconds=round(self._monotonic() - seen.since, 1), **fields)

    def lasts(self, kind: Hashable) -> bool:
        """Whether this kind of trouble has happened and not ended."""
        seen = self._seen.get(kind)
        return seen is not None and seen.lasts
