"""Kafka's jars, from Maven Central, and the Java that runs them."""

import fcntl
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

from sandbox.servers.process import REPOSITORY, ServerFailedError, run

_POM = Path(__file__).with_name("pom.xml")
_OLDEST_JAVA = 17


def java() -> Path:
    """The `java` on PATH. Raises ServerFailedError when it is missing or older than Kafka 4 needs (17)."""
    advice = "Kafka needs Java 17 or newer: install it (Debian's package default-jre-headless)"
    found = shutil.which("java")
    if found is None:
        raise ServerFailedError(advice)
    told = run([found, "-version"], failure=advice)
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < _OLDEST_JAVA:
        raise ServerFailedError(f"{advice}; {found} says: {told.strip()}")
    return Path(found)


def kafka_jars() -> Path:
    """The folder with the jars that pom.xml names, copied by Maven into `.cache` when that is not done yet.

    Raises ServerFailedError when Maven is missing or fails.
    """
    version = ElementTree.parse(_POM).findtext(".//{*}kafka.version")
    cache = REPOSITORY / ".cache" / f"kafka-{version}"
    libs = cache / "libs"
    copied_for = cache / "pom.xml"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs may come here at once
        if not copied_for.exists() or copied_for.read_bytes() != _POM.read_bytes():
            shutil.rmtree(libs, ignore_errors=True)
            _copy_dependencies(libs)
            shutil.copyfile(_POM, copied_for)
    return libs


def _copy_dependencies(libs: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerFailedError("Maven fetches Kafka's jars: install it (Debian's package maven)")
    run(
        [
            *(maven, "-q", "-B", "-f", _POM, "dependency:copy-dependencies"),
            *("-DincludeScope=runtime", f"-DoutputDirectory={libs}"),
        ],
        failure="Maven could not fetch Kafka's jars",
    )
