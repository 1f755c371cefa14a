"""Time zones: what a mailbox is set to, and how an instant is written so that Outlook shows it right.

Names come in two families, Windows and IANA. The table between them is Unicode CLDR's ``windowsZones``, as
``tzlocal`` generates and maintains it.
"""

import zlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tzlocal.windows_tz import tz_win, win_tz

_IANA = {name.casefold(): iana for name, iana in win_tz.items()}
_WINDOWS = {name.casefold(): name for name in win_tz}
_UTC = frozenset({"utc", "etc/utc", "etc/gmt", "gmt"})


@dataclass(frozen=True, slots=True)
class Zone:
    """A time zone with the name that Graph accepts for it."""

    windows: str
    """A Windows name, or ``UTC``."""
    info: ZoneInfo | None
    """``None`` for UTC."""

    @property
    def mark(self) -> int:
        """See :func:`mark`."""
        return mark(self.windows)


UTC_ZONE = Zone("UTC", None)


def mark(windows: str) -> int:
    """Sixteen bits that differ between zones: links keep them, to notice that a mailbox's zone has changed."""
    return zlib.crc32(windows.encode()) & 0xFFFF


def zone_for(mailbox_setting: str | None, site_timezone: str) -> Zone:
    """The zone of a mailbox: its own setting, else its site's, else UTC.

    A setting may be a Windows or an IANA name; empty ones, ``Customized Time Zone`` and ``tzone://Microsoft/Custom``
    are real values and name no zone (microsoft-graph user-get-mailboxsettings; msgraph-sample-rubyrailsapp#195).
    """
    return _zone(mailbox_setting or "") or _zone(site_timezone) or UTC_ZONE


@lru_cache(maxsize=1024)
def _zone(name: str) -> Zone | None:
    folded = name.strip().casefold()
    if folded in _UTC:
        return UTC_ZONE
    iana = _IANA.get(folded, name.strip())
    try:
        info = ZoneInfo(iana)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
    windows = _WINDOWS.get(folded) or tz_win.get(iana)
    # A zone that Windows has no name for is known, but cannot be sent: both ends go in UTC.
    return Zone(windows, info) if windows else UTC_ZONE


@lru_cache(maxsize=1024)
def named(name: str) -> tzinfo | None:
    """The zone of this name, Windows or IANA, to read local times in; ``None`` if no zone has it.

    Unlike :func:`zone_for`, this also finds zones that Windows has no name for.
    """
    folded = name.strip().casefold()
    if folded in _UTC or folded == "tzone://microsoft/utc":
        return UTC
    try:
        return ZoneInfo(_IANA.get(folded, name.strip()))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def is_iana(name: str) -> bool:
    """Whether ``name`` is an IANA zone this machine knows."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def write_span(start: datetime, end: datetime, zone: Zone) -> tuple[str, str, str]:
    """The two local times and the zone name to send for an event of these instants.

    A local time that the zone has twice (the repeated hour) is ambiguous to Graph, so both ends are sent in UTC.
    """
    if zone.info is not None:
        # Within a day of the first or the last year there is, an instant may have no local time.
        with suppress(OverflowError):
            local = start.astimezone(zone.info), end.astimezone(zone.info)
            if not any(_ambiguous(moment) for moment in local):
                return _plain(local[0]), _plain(local[1]), zone.windows
    return _plain(start.astimezone(UTC)), _plain(end.astimezone(UTC)), "UTC"


def _ambiguous(local: datetime) -> bool:
    return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()


def _plain(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds")
