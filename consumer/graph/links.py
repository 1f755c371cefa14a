"""Links in Graph's answers, which are followed only on Graph's own origin."""

from typing import Final
from urllib.parse import SplitResult, urlsplit

_PORTS: Final = {"https": 443, "http": 80}
_LONGEST: Final = 32_768
"""Characters of a link. The HTTP client refuses a URL of over 65,536 bytes."""

Origin = tuple[str, str, int]
"""Scheme, host and port (RFC 6454): in lower case, and with the scheme's port if the URL names none."""


def origin(url: str) -> Origin:
    """The origin of a URL.

    Raises:
        ValueError: it is not an http(s) URL with a host, or it contains a user or a password.
    """
    return _origin(urlsplit(url))


def path_below(base: str, link: str) -> str:
    """The path and query of a link, below the path of ``base``.

    Raises:
        ValueError: it cannot be read as a URL, or leads elsewhere.
    """
    if len(link) > _LONGEST or not link.isprintable():
        raise ValueError("too long, or not printable")
    known, there = urlsplit(base), urlsplit(link)
    path = known.path.rstrip("/")
    if _origin(there) != _origin(known) or not there.path.startswith(path + "/"):
        raise ValueError("leads elsewhere")
    return f"{there.path[len(path) :]}?{there.query}"


def _origin(parts: SplitResult) -> Origin:
    default, host, port = _PORTS.get(parts.scheme), parts.hostname, parts.port
    if default is None or not host or "@" in parts.netloc:
        raise ValueError("no http(s) URL with a host and without a user")
    return parts.scheme, host, default if port is None else port
