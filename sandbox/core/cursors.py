"""The API's cursors: opaque to the client, and readable here without stored state."""

import base64
import binascii
import json

from sandbox.core.schedule import RosterKey


def write_cursor(number: int, after: RosterKey | None) -> str:
    """Returns the cursor of page `number`, which continues after the position `after` in the order."""
    place = None if after is None else [after[0].decode(), after[1]]
    return base64.urlsafe_b64encode(json.dumps([number, place]).encode()).decode()


def read_cursor(cursor: str) -> tuple[int, RosterKey | None]:
    """The inverse of `write_cursor`. Raises ValueError for a text that `write_cursor` did not write."""
    try:
        number, place = json.loads(base64.urlsafe_b64decode(cursor))
        return int(number), None if place is None else (str(place[0]).encode(), str(place[1]))
    except (binascii.Error, ValueError, TypeError, LookupError):
        raise ValueError(f"{cursor!r} is not a cursor of this API") from None
