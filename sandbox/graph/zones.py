"""Time zone names and local times as Graph accepts them (docs/facts/graph.md 1.4)."""

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tzlocal.windows_tz import win_tz

from sandbox.graph.errors import unknown_zone

# The additional names of microsoft-graph-docs resources/datetimetimezone.md; its odd spellings are intended.
_LISTED = {
    "Etc": (
        "GMT+12",
        "GMT+11",
        "GMT+2",
        "GMT",
        "GMT-12",
    ),
    "Pacific": (
        "Honolulu",
        "Port_Moresby",
        "Guadalcanal",
        "Auckland",
        "Fiji",
        "Tongatapu",
        "Apia",
        "Kiritimati",
    ),
    "America": (
        "Anchorage",
        "Santa_Isabel",
        "Los_Angeles",
        "Phoenix",
        "Chihuahua",
        "Denver",
        "Guatemala",
        "Chicago",
        "Mexico_City",
        "Regina",
        "Bogota",
        "New_York",
        "Indiana/Indianapolis",
        "Caracas",
        "Asuncion",
        "Halifax",
        "Cuiaba",
        "La_Paz",
        "Santiago",
        "St_Johns",
        "Sao_Paulo",
        "Argentina/Buenos_Aires",
        "Cayenne",
        "Godthab",
        "Montevideo",
        "Bahia",
    ),
    "Atlantic": (
        "Azores",
        "Cape_Verde",
        "Reykjavik",
    ),
    "Africa": (
        "Casablanca",
        "Lagos",
        "Windhoek",
        "Cairo",
        "Johannesburg",
        "Nairobi",
    ),
    "Europe": (
        "London",
        "Berlin",
        "Budapest",
        "Paris",
        "Warsaw",
        "Bucharest",
        "Istanbul",
        "Kaliningrad",
        "Moscow",
    ),
    "Asia": (
        "Beirut",
        "Damascus",
        "Jerusalem",
        "Amman",
        "Baghdad",
        "Riyadh",
        "Tehran",
        "Dubai",
        "Baku",
        "Tbilisi",
        "Yerevan",
        "Kabul",
        "Karachi",
        "Kolkata",
        "Colombo",
        "Kathmandu",
        "Dhaka",
        "Yekaterinburg",
        "Bangkok",
        "Novosibirsk",
        "Shanghai",
        "Krasnoyarsk",
        "Singapore",
        "Taipei",
        "Ulaanbaatar",
        "Irkutsk",
        "Tokyo",
        "Seoul",
        "Yakutsk",
        "Vladivostok",
        "Magadan",
    ),
    "Indian": ("Mauritius",),
    "Australia": (
        "Perth",
        "Adelaide",
        "Darwin",
        "Brisbane",
        "Sydney",
        "Hobart",
    ),
}
CUSTOM = "tzone://Microsoft/Custom"
"""The value of original…TimeZone if desktop Outlook has set a custom zone."""
LISTED_IANA = frozenset(f"{region}/{city}" for region, cities in _LISTED.items() for city in cities)
_ODD_SPELLINGS = {
    "Europe/Kyiv (Kiev)": "Europe/Kyiv",
    "Asia/Toshkent (Tashkent)": "Asia/Tashkent",
    "Asia/Astana (Almaty)": "Asia/Almaty",
    "Asia/Yangon (Rangoon)": "Asia/Yangon",
}


@lru_cache(maxsize=2048)
def zone(name: str, iana: str = "all") -> ZoneInfo:
    """Returns the zone with that name: any Windows name, or an IANA name that `iana` allows (listed, all, none).

    Raises GraphError (400 TimeZoneNotSupportedException) for every other name, including the empty one.
    """
    windows = win_tz.get(name)
    if windows is not None:
        return ZoneInfo(windows)
    if iana != "none" and name in _ODD_SPELLINGS:
        return ZoneInfo(_ODD_SPELLINGS[name])
    # a file path is not a zone name, although ZoneInfo would read the file
    if iana == "all" or (iana == "listed" and name in LISTED_IANA):
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise unknown_zone(name) from error
    raise unknown_zone(name)


def kept(name: str) -> ZoneInfo:
    """Returns the zone that an event is stored with. A legacy custom zone counts as UTC; no request may name it."""
    return zone("UTC" if name == CUSTOM else name)


@lru_cache(maxsize=16_384)
def to_utc(local: datetime, where: ZoneInfo) -> datetime:
    """Returns the instant of a local time, as a naive UTC datetime.

    A repeated hour means its first occurrence, and a skipped hour is shifted forward. Both are the meaning of fold=0.
    """
    if where.key == "Etc/UTC":
        return local
    return local.replace(tzinfo=where).astimezone(UTC).replace(tzinfo=None)


@lru_cache(maxsize=16_384)
def to_local(instant: datetime, where: ZoneInfo) -> datetime:
    """Returns the naive local time of a naive UTC instant."""
    if where.key == "Etc/UTC":
        return instant
    return instant.replace(tzinfo=UTC).astimezone(where).replace(tzinfo=None)


def seven_digits(moment: datetime) -> str:
    """Returns `2026-10-06T01:00:00.0000000`: without Z and without an offset, as in every answer."""
    return moment.isoformat(timespec="microseconds") + "0"
