"""The version of the data's format in Redis, so that a release never reads data that it does not understand.

Data without a version are of version 1: they were written before the key existed.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from redis.exceptions import RedisError

FORMAT: Final = 1
"""The version that this release writes, and the highest that it reads.

Raise it when an older release would misread the data, and have the new release read every version before. See
``tests/upgrade``.
"""
VERSION_KEY: Final = "version"


class NewerDataError(RedisError):
    """Redis holds data of a newer version. Trying again does not help."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"Redis holds data of version {found}, this release reads up to {FORMAT}: "
            "run the release that wrote the data, or a newer one"
        )


async def check_version(ask: Callable[..., Awaitable[Any]], key: str, *, read_only: bool) -> None:
    """Refuse data of a newer version; name the version of data that have none.

    Raises:
        NewerDataError: the version is higher than ``FORMAT``, or not a number.
    """
    found = await ask("GET", key)
    if found is None and not read_only:
        await ask("SET", key, str(FORMAT), "NX")
        found = await ask("GET", key)  # a newer release may have been quicker
    if found is not None and not (found.isdigit() and int(found) <= FORMAT):
        raise NewerDataError(found.decode(errors="replace"))
