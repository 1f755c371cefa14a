"""The sites file: read again when it changes, checked whole, the last good one kept."""

import asyncio
import hashlib
import re
import time
import tomllib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any, Final

import structlog

from consumer.domain.errors import ConfigurationError
from consumer.domain.site import Site
from consumer.domain.timezones import is_iana
from consumer.operator_text import clean, read_secret, read_text, require_one_line
from consumer.redaction import KNOWN

log = structlog.get_logger(__name__)

_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]*")
_TENANT: Final = re.compile(r"[A-Za-z0-9._-]+")
_REQUIRED: Final = ("id", "name", "timezone", "tenant_id", "client_id")
_KEYS: Final = {*_REQUIRED, "client_secret", "client_secret_file", "client_secret_expires"}
LOOK_SECONDS: Final = 1.0
STEADY_LOOKS: Final = 10
"""In how many looks a file must be unchanged before it is believed that a site is gone, or that the file is faulty."""

Sites = dict[str, Site]


class SitesFile:
    """The sites file at a path, a Secret's mount included: its ``..data`` swap is seen, since contents are compared.

    A file may be read while it is being written: only its first sites are there, the file is empty, or it is missing
    for a moment. So new and changed sites are taken at once; that a site is gone, or that the file cannot be used, only
    once the contents stood unchanged for ``STEADY_LOOKS`` looks.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, "sites-file")
        """Its own: a mount that hangs must not hold threads that others wait for."""
        self._seen = b""
        self._sites: Sites = {}
        self.last_success = 0.0
        """Unix time of the last look that found the file readable and valid."""

    def load(self) -> Sites:
        """The sites of the file.

        Raises:
            ConfigurationError: it cannot be read or used; every problem at once, never a secret.
        """
        self._seen = self._contents()
        self._sites = read(self._path)
        self.last_success = time.time()
        _know(self._sites)
        return self._sites

    async def watch(self, changed: Callable[[Sites], None]) -> None:
        """Until cancelled: call ``changed`` with the sites when the file changes; log an unusable file once."""
        unchanged, is_good = STEADY_LOOKS, True
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            contents = await asyncio.wrap_future(self._thread.submit(self._contents))
            is_new = contents != self._seen
            self._seen, unchanged = contents, 0 if is_new else unchanged + 1
            is_steady = unchanged == STEADY_LOOKS
            if not (is_new or is_steady):
                if is_good:
                    self.last_success = time.time()
                continue
            try:
                sites = await asyncio.wrap_future(self._thread.submit(read, self._path))
            except ConfigurationError as error:
                is_good = False
                if is_steady:
                    log.error("the sites file cannot be used, the last good one is kept", problems=error.problems)
                continue
            is_good, self.last_success = True, time.time()
            if is_new:
                sites = self._sites | sites
            elif sites == self._sites:
                continue
            # Called also if only a comment changed: it is an administrator's way to have a site tried at once.
            added, gone = sites.keys() - self._sites.keys(), self._sites.keys() - sites.keys()
            log.info("sites file read again", sites=len(sites), added=sorted(added), gone=sorted(gone))
            self._sites = sites
            _know(sites)
            changed(sites)

    def _contents(self) -> bytes:
        """A digest of the file and of the secrets that it names."""
        digest = hashlib.sha256()
        try:
            digest.update(self._path.read_bytes())
            entries = tomllib.loads(clean(read_text(self._path))).get("site", ())
            names = [clean(str(entry["client_secret_file"])) for entry in entries if "client_secret_file" in entry]
        except OSError as error:
            digest.update(f"\x00{error.errno}".encode())  # ``read`` reports what is wrong with it
            return digest.digest()
        except (ValueError, TypeError, RecursionError):
            return digest.digest()
        for name in names:
            digest.update(b"\x00")
            with suppress(OSError, ValueError):
                digest.update((self._path.parent / name).read_bytes())
        return digest.digest()


def read(path: Path) -> Sites:
    """The sites by id. Raises ``ConfigurationError``."""
    try:
        document = tomllib.loads(clean(read_text(path)))
    except OSError as error:
        raise ConfigurationError([f"CALSYNC_SITES_FILE: {path}: {error.strerror}"]) from None
    except (ValueError, RecursionError, TypeError) as error:
        raise ConfigurationError([f"CALSYNC_SITES_FILE: {path}: not valid TOML {_place(error)}"]) from None
    entries = document.get("site")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigurationError([f"CALSYNC_SITES_FILE: {path}: must hold [[site]] tables"])
    sites: Sites = {}
    problems = [f"CALSYNC_SITES_FILE: {path}: unknown key {key!r}" for key in document if key != "site"]
    for number, table in enumerate(entries, 1):
        entry: dict[str, Any] = {
            key: clean(value) if isinstance(value, str) and key != "id" else value for key, value in table.items()
        }
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
    problems += [f"unknown key {key!r}" for key in entry if key not in _KEYS]
    if _is_text(entry.get("id")) and not _ID.fullmatch(entry["id"]):
        problems.append("id must be small letters, digits and hyphens, and not begin with a hyphen")
    for key in ("name", "client_id", "client_secret"):
        if _is_text(entry.get(key)):
            try:
                require_one_line(entry[key])
            except ValueError as error:
                problems.append(f"{key} {error}")
    if _is_text(entry.get("client_id")) and " " in entry["client_id"]:
        problems.append("client_id must not hold spaces: copy the Application (client) ID of the app")
    if _is_text(entry.get("tenant_id")) and not _TENANT.fullmatch(entry["tenant_id"]):
        problems.append("tenant_id is not an id or domain: copy the Directory (tenant) ID of the app")
    if _is_text(entry.get("timezone")) and not is_iana(entry["timezone"]):
        problems.append("timezone is not an IANA time zone, such as Europe/London")
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
        return read_secret(folder / str(entry["client_secret_file"]).replace("\x00", "\ufffd"))
    except OSError as error:
        problems.append(f"client_secret_file cannot be read: {error.strerror}")
    except ValueError as error:
        problems.append(f"client_secret_file {error}")
    return ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _know(sites: Sites) -> None:
    """Have the secrets taken out of every output."""
    KNOWN.replace("sites", {site.client_secret for site in sites.values()})


def _place(error: Exception) -> str:
    """Where a TOML error is, without what stands there: it may be a secret."""
    found = re.search(r"\(at .*\)$", str(error))
    return found.group() if found else type(error).__name__
