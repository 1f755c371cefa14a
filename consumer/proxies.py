"""Forward proxies: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, read once and applied to every HTTP connection alike.

The names are curl's: either case, the lower one first. NO_PROXY lists hosts, separated by commas: ``*``, a host or a
domain (with or without a dot before it, its subdomains included), an address or a network (``10.0.0.0/8``), each of
them with ``:port`` if only that port is meant. There is no common standard for it (curl, Go's httpproxy and Python's
urllib differ); this is what they have in common, with Go's networks. Loopback addresses are never sent to a proxy.
"""

import base64
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from consumer.domain.errors import ConfigurationError
from consumer.redaction import KNOWN, login_of

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A forward proxy and the variable that names it."""

    variable: str
    url: str
    """Without user and password: it may be logged."""
    authorization: str | None
    """The value of ``Proxy-Authorization``; a secret."""

    def __str__(self) -> str:
        return f"the proxy {urlsplit(self.url).netloc} ({self.variable})"

    def __repr__(self) -> str:
        return f"Proxy({self.variable}={self.url})"


class Proxies:
    """Which proxy a URL is sent through."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """
        Raises:
            ConfigurationError: a variable names no proxy that can be used. Its value is not quoted.
        """
        problems: list[str] = []
        self._by_scheme = {scheme: _read(environment, scheme, problems) for scheme in _PORTS}
        if problems:
            raise ConfigurationError(problems)
        listed = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
        self._direct = [entry for part in listed.split(",") if (entry := part.strip().lower())]

    def for_url(self, url: str) -> Proxy | None:
        """The proxy for this URL; ``None`` if it is asked directly."""
        parts = urlsplit(url)
        proxy = self._by_scheme.get(parts.scheme)
        host = (parts.hostname or "").rstrip(".")
        if proxy is None or _is_loopback(host) or self._is_direct(host, parts.port or _PORTS[parts.scheme]):
            return None
        return proxy

    def _is_direct(self, host: str, port: int) -> bool:
        return any(_matches(entry, host, port) for entry in self._direct)


def from_environment() -> Proxies:
    """The proxies that this process's environment names. Raises ``ConfigurationError``."""
    return Proxies(os.environ)


def _read(environment: Mapping[str, str], scheme: str, problems: list[str]) -> Proxy | None:
    for variable in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY"):
        value = environment.get(variable, "").strip()
        if value:
            break
    else:
        return None
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host or parts.scheme not in _PORTS or parts.path not in ("", "/") or parts.query or parts.fragment:
        problems.append(
            f"{variable}: is not a proxy URL such as http://proxy.example:3128; only http and https proxies can be "
            "used, and special characters in a user or password must be percent-encoded"
        )
        return None
    authorization = None
    if parts.username or parts.password:
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        KNOWN.replace(variable, [login, *login_of(value if "://" in value else f"http://{value}")])
        authorization = f"Basic {base64.b64encode(login.encode()).decode()}"
    shown = f"[{host}]" if ":" in host else host
    return Proxy(variable, f"{parts.scheme}://{shown}:{port or _PORTS[parts.scheme]}", authorization)


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    name, wanted = _split(entry)
    if wanted is not None and wanted != port:
        return False
    address = _address(host)
    if address is not None:
        try:
            return address in ipaddress.ip_network(name, strict=False)
        except (ValueError, TypeError):
            return False
    name = name.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split(entry: str) -> tuple[str, int | None]:
    """An entry of NO_PROXY and its port, if it names one; an IPv6 address with a port stands in brackets."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, int(rest[1:]) if rest[1:].isdecimal() else None
    name, colon, port = entry.rpartition(":")
    if colon and ":" not in name and port.isdecimal():
        return name, int(port)
    return entry, None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or host.endswith(".localhost") or (address is not None and address.is_loopback)
