"""How long another service asks us to wait."""

from collections.abc import Mapping
from typing import Final

LONGEST_SECONDS: Final = 3600.0
"""The longest wait that a service itself may ask for; a longer one is cut to this."""
FOREIGN_LONGEST_SECONDS: Final = 60.0
"""The longest wait that a foreign answer may ask for. A maintenance page of a proxy says nothing about how long the
service behind it needs: an hour of it would keep the calendars from being written long after the proxy has gone."""


def retry_after(headers: Mapping[str, str], *, own: bool) -> float | None:
    """Seconds of a ``Retry-After``, which Graph also gives as a fraction; ``None`` without a usable one.

    Args:
        headers: of the answer.
        own: the answer is in the error format of the service that was asked. Otherwise the wait is at most
            ``FOREIGN_LONGEST_SECONDS``.
    """
    for name, value in headers.items():
        if name.lower() == "retry-after":
            try:
                return max(0.0, min(float(value), LONGEST_SECONDS if own else FOREIGN_LONGEST_SECONDS))
            except (ValueError, TypeError):
                return None
    return None
