"""A dict that holds a bounded number of entries."""

from collections.abc import Iterator, MutableMapping
from typing import Any, TypeVar, overload

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")
OtherT = TypeVar("OtherT")


class BoundedDict(MutableMapping[KeyT, ValueT]):
    """Drops its oldest entry when there are more than ``most``. To write an entry again makes it the newest.

    Not a ``dict``, whose ``setdefault``, ``update`` and ``|=`` would pass the bound by.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: dict[KeyT, ValueT] = {}

    def __setitem__(self, key: KeyT, value: ValueT) -> None:
        """Make this the newest entry."""
        self._entries.pop(key, None)
        self._entries[key] = value
        if len(self._entries) > self._most:
            del self._entries[next(iter(self._entries))]

    def __getitem__(self, key: KeyT) -> ValueT:
        """The value. Raises ``KeyError``."""
        return self._entries[key]

    def __delitem__(self, key: KeyT) -> None:
        """Drop the entry. Raises ``KeyError``."""
        del self._entries[key]

    # MutableMapping's own methods raise and catch a KeyError for each missing key, which is the normal case here.
    @overload
    def get(self, key: KeyT, default: None = None, /) -> ValueT | None: ...
    @overload
    def get(self, key: KeyT, default: OtherT, /) -> ValueT | OtherT: ...
    def get(self, key: KeyT, default: Any = None, /) -> Any:
        """The value, or ``default``."""
        return self._entries.get(key, default)

    @overload
    def pop(self, key: KeyT, /) -> ValueT: ...
    @overload
    def pop(self, key: KeyT, default: OtherT, /) -> ValueT | OtherT: ...
    def pop(self, key: KeyT, /, *default: Any) -> Any:
        """Drop the entry, and return its value or ``default``. Raises ``KeyError`` without a default."""
        return self._entries.pop(key, *default)

    def __contains__(self, key: object) -> bool:
        """Whether there is such an entry."""
        return key in self._entries

    def __len__(self) -> int:
        """The number of entries."""
        return len(self._entries)

    def __iter__(self) -> Iterator[KeyT]:
        """The keys, the oldest first."""
        return iter(self._entries)

    def __reversed__(self) -> Iterator[KeyT]:
        """The keys, the newest first."""
        return reversed(self._entries)
