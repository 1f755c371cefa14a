"""Jars from Maven Central, and the Java that runs them."""

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
"""For servers of tests on a small machine: start-up time matters more than peak speed."""


def java() -> Path:
    """The `java` on PATH. Raises ServerFailedError when it is missing or older than the servers need (17)."""
    advice = "Java 17 or newer is needed: install it (Debian's package default-jre-headless)"
    found = shutil.which("java")
    if found is None:
        raise ServerFailedError(advice)
    told = run([found, "-version"], failure=advice)
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < _OLDEST_JAVA:
        raise ServerFailedError(f"{advice}; {found} says: {told.strip()}")
    return Path(found)


def jars(pom: Path) -> Path:
    """The folder with what the pom fetches in its `package` phase into `${folder}`, made when it is not there yet.

    The folder is named after the pom's contents, so that another pom never changes it under a running server.
    Raises ServerFailedError when Maven is missing or fails.
    """
    name = ElementTree.parse(pom).findtext("./{*}artifactId")
    folder = _CACHE / f"{name}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:8]}"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs may come here at once, and Maven's own folder is shared
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=_CACHE) as draft:
                _fetch(pom, Path(draft) / "whole")
                (Path(draft) / "whole").rename(folder)
    return folder


def _fetch(pom: Path, folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerFailedError("Maven fetches the servers' jars: install it (Debian's package maven)")
    run(
        [maven, "-q", "-B", "-f", pom, "package", f"-Dfolder={folder}"],
        failure=f"Maven could not fetch what {pom} names",
    )
