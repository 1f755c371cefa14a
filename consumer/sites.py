"""The sites file: read again when it changes, checked whole, the last good one kept."""

import asyncio
import hashlib
import re
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any, Final

import structlog

from consumer.domain.errors import ConfigurationError
from consumer.domain.site import Site
from consumer.domain.timezones import is_iana

log = structlog.get_logger(__name__)

_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]*")
_REQUIRED: Final = ("id", "name", "timezone", "tenant_id", "client_id")
_KNOWN: Final = {*_REQUIRED, "client_secret", "client_secret_file", "client_secret_expires"}
LOOK_SECONDS: Final = 1.0

Sites = dict[str, Site]


class SitesFile:
    """The sites file at a path, a Secret's mount included: its ``..data`` swap is seen, since contents are compared."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = b""

    def load(self) -> Sites:
        """The sites of the file.

        Raises:
            ConfigurationError: it cannot be read or used; every problem at once, never a secret.
        """
        self._seen = self._contents()
        return read(self._path)

    async def watch(self, changed: Callable[[Sites], None]) -> None:
        """Call ``changed`` with each new file that can be used; tell of one that cannot, once."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            contents = await asyncio.to_thread(self._contents)
            if contents == self._seen:
                continue
            self._seen = contents
            try:
                sites = await asyncio.to_thread(read, self._path)
            except ConfigurationError as error:
                log.error("the sites file cannot be used, the last good one is kept", problems=error.problems)
            else:
                log.info("sites file read again", sites=len(sites))
                changed(sites)

    def _contents(self) -> bytes:
        """A digest of the file and of the secrets that it names."""
        digest = hashlib.sha256()
        try:
            source = self._path.read_bytes()
            digest.update(source)
            entries = tomllib.loads(source.decode()).get("site", ())
            names = [str(entry["client_secret_file"]) for entry in entries if "client_secret_file" in entry]
        except (OSError, ValueError, TypeError, RecursionError):
            return digest.digest()  # ``read`` tells what is wrong with it
        for name in names:
            with suppress(OSError, ValueError):
                digest.update((self._path.parent / name).read_bytes())
        return digest.digest()


def read(path: Path) -> Sites:
    """The sites by id. Raises ``ConfigurationError``."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError([f"CALSYNC_SITES_FILE: {path}: {error.strerror}"]) from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError([f"CALSYNC_SITES_FILE: {path}: no TOML: {_place(error)}"]) from None
    entries = document.get("site")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigurationError([f"CALSYNC_SITES_FILE: {path}: must hold [[site]] tables"])
    sites: Sites = {}
    problems = [f"CALSYNC_SITES_FILE: {path}: unknown key {key!r}" for key in document if key != "site"]
    for number, entry in enumerate(entries, 1):
        name = f"CALSYNC_SITES_FILE: {path}: site {entry.get('id', f'number {number}')!r}"
        wrong = _wrong(entry)
        secret = _secret(entry, path.parent, wrong)
        problems += [f"{name}: {problem}" for problem in wrong]
        if wrong:
            continue
        if entry["id"] in sites:
            problems.append(f"{name}: the id stands twice")
        sites[entry["id"]] = Site(
            site_id=entry["id"],
            name=entry["name"],
            timezone=entry["timezone"],
            tenant_id=entry["tenant_id"],
            client_id=entry["client_id"],
            client_secret=secret,
            client_secret_expires=entry.get("client_secret_expires"),
        )
    if problems:
        raise ConfigurationError(problems)
    return sites


def _wrong(entry: Mapping[str, Any]) -> list[str]:
    problems = [f"{key} is missing or no text" for key in _REQUIRED if not _is_text(entry.get(key))]
    problems += [f"unknown key {key!r}" for key in entry if key not in _KNOWN]
    if _is_text(entry.get("id")) and not _ID.fullmatch(entry["id"]):
        problems.append("id must be small letters, digits and hyphens, and not begin with a hyphen")
    if _is_text(entry.get("timezone")) and not is_iana(entry["timezone"]):
        problems.append("timezone is no IANA time zone, such as Europe/London")
    expires = entry.get("client_secret_expires")
    if expires is not None and type(expires) is not date:
        problems.append("client_secret_expires must be a date, such as 2027-03-31")
    return problems


def _secret(entry: Mapping[str, Any], folder: Path, problems: list[str]) -> str:
    given = [key for key in ("client_secret", "client_secret_file") if _is_text(entry.get(key))]
    if len(given) != 1:
        problems.append("must have one of client_secret and client_secret_file")
        return ""
    if given[0] == "client_secret":
        return str(entry["client_secret"])
    try:
        secret = (folder / str(entry["client_secret_file"])).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        problems.append("client_secret_file cannot be read")
        return ""
    if not secret:
        problems.append("client_secret_file is empty")
    return secret


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _place(error: Exception) -> str:
    """Where a TOML error is, without what stands there: it may be a secret."""
    found = re.search(r"\(at .*\)$", str(error))
    return found.group() if found else type(error).__name__
