"""Spans: how long parts of the work took, for a tracing system. Without one, they cost nothing.

Like the log, they belong to the whole process: :func:`consumer.ops.tracing.start` gives them somewhere to go.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol, TypeAlias

Attribute: TypeAlias = str | int | float | bool | Sequence[str]
"""Never a mail address, a secret, or anything that an event holds."""


class Tracer(Protocol):
    """Takes the spans of the process."""

    def span(self, name: str, **attributes: Attribute) -> AbstractContextManager[object]:
        """A span that lasts as long as the context. Spans opened within it are its children."""

    def ended(self, name: str, started_at: float, **attributes: Attribute) -> None:
        """A span that began at this Unix time and ends now."""


_NOTHING: Final = nullcontext()


class Spans:
    """Where spans are given; to nobody unless there is a tracer."""

    def __init__(self) -> None:
        self.tracer: Tracer | None = None

    def span(self, name: str, **attributes: Attribute) -> AbstractContextManager[object]:
        """See :class:`Tracer`."""
        return _NOTHING if self.tracer is None else self.tracer.span(name, **attributes)

    def ended(self, name: str, started_at: float, **attributes: Attribute) -> None:
        """See :class:`Tracer`."""
        if self.tracer is not None:
            self.tracer.ended(name, started_at, **attributes)


SPANS: Final = Spans()
"""Those of this process."""
