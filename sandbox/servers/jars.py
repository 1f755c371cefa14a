"""Fetches jars from Maven Central and finds the Java that runs them."""

import fcntl
import hashlib
import re
import shutil
import tempfile
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from sandbox.servers.process import REPOSITORY, ServerFailedError, run

_CACHE = REPOSITORY / ".cache" / "jars"
_OLDEST_JAVA = 17

JVM: Final = (
    *("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Djava.awt.headless=true"),
    f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')}",
)
"""Options for test servers on a small machine: start-up time matters more than peak speed."""


def java() -> Path:
    """Returns the `java` on PATH. Raises ServerFailedError if it is missing or older than the servers need (17)."""
    advice = "Java 17 or newer is missing: install it (Debian's package default-jre-headless)"
    found = shutil.which("java")
    if found is None:
        raise ServerFailedError(advice)
    printed = run([found, "-version"], failure=advice)
    version = re.search(r'version "(\d+)', printed)
    if version is None or int(version[1]) < _OLDEST_JAVA:
        raise ServerFailedError(f"{advice}; {found} reports: {printed.strip()}")
    return Path(found)


def jars(pom: Path) -> Path:
    """Returns the folder with the jars that the pom's `package` phase copies to `${folder}`. Fetches them if needed.

    The folder's name depends on the pom's contents, so a changed pom never changes the jars of a running server.
    Raises ServerFailedError if Maven is missing or fails.
    """
    name = ElementTree.parse(pom).findtext("./{*}artifactId")
    folder = _CACHE / f"{name}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:8]}"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs may get here at once, and they share Maven's own folder
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=_CACHE) as draft:
                _fetch(pom, Path(draft) / "whole")
                (Path(draft) / "whole").rename(folder)
    return folder


def _fetch(pom: Path, folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerFailedError("Maven is missing, and it fetches the servers' jars: install Debian's package maven")
    run(
        [maven, "-q", "-B", "-f", pom, "package", f"-Dfolder={folder}"],
        failure=f"Maven could not fetch the jars of {pom}",
    )
