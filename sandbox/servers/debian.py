"""Finds a program on PATH, or fetches its Debian package and unpacks it, which needs no root."""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.servers.process import REPOSITORY, ServerFailedError, run

CACHE = REPOSITORY / ".cache"


@dataclass(frozen=True, slots=True)
class Program:
    """A program, and the environment variables that it needs to find its libraries."""

    path: Path
    environment: Mapping[str, str] = field(default_factory=dict)


def program(name: str, package: str, folder: str) -> Program:
    """Returns the program of this name: the one on PATH, or the one in `.cache/{folder}/usr/bin`.

    If there is neither, fetches the Debian package and unpacks it there, with the dependencies that apt finds missing
    on this machine. Raises ServerFailedError if that fails.
    """
    installed = shutil.which(name)
    if installed is not None:
        return Program(Path(installed))
    unpacked = CACHE / folder
    path = unpacked / "usr/bin" / name
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs may get here at once
        if not path.exists():
            _unpack(name, package, unpacked)
    libraries = sorted({str(library.parent) for library in unpacked.rglob("*.so*")})
    return Program(path, {"LD_LIBRARY_PATH": os.pathsep.join(libraries)} if libraries else {})


def _unpack(name: str, package: str, unpacked: Path) -> None:
    advice = f"{name} is not on PATH: install it (Debian's package {package})"
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise ServerFailedError(advice)
    failure = f"{advice}. Fetching the package failed too"
    if os.geteuid() == 0:
        run(["apt-get", "-qq", "update"], failure=failure)
    simulated = run(["apt-get", "-s", "install", "--no-install-recommends", package], failure=failure)
    missing = re.findall(r"^Inst (\S+)", simulated, re.MULTILINE)
    # The folder gets its final name only when it is complete, so an interrupted download is never used.
    with tempfile.TemporaryDirectory(dir=unpacked.parent) as folder:
        run(["apt-get", "-qq", "download", *missing], failure=failure, folder=Path(folder))
        draft = Path(folder) / "unpacked"
        for archive in sorted(Path(folder).glob("*.deb")):
            run(["dpkg", "-x", archive, draft], failure=failure)
        shutil.rmtree(unpacked, ignore_errors=True)
        draft.rename(unpacked)
