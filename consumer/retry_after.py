"""How long another service asks us to wait."""

from collections.abc import Mapping
from typing import Final

LONGEST_SECONDS: Final = 3600.0
"""A longer wait is cut to this."""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a ``Retry-After``, which Graph also gives as a fraction; ``None`` without a usable one."""
    for name, value in headers.items():
        if name.lower() == "retry-after":
            try:
                return max(0.0, min(float(value), LONGEST_SECONDS))
            except (ValueError, TypeError):
                return None
    return None
