"""The Lua scripts, and how each is named to Redis."""

import hashlib
from importlib.resources import files
from typing import Final

from consumer.store.version import FORMAT


def _source(name: str) -> bytes:
    return files("consumer.store").joinpath("scripts", f"{name}.lua").read_bytes()


class Script:
    """One script of ``scripts/``, with ``common.lua`` before it."""

    def __init__(self, name: str) -> None:
        self.source = b"local FORMAT = '%d'\n" % FORMAT + _source("common") + _source(name)
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()


ROUTE, BEGIN, FINISH, RENEW, RELEASE, COMING, MARK, CLEAN, ELSEWHERE = SCRIPTS = tuple(
    Script(name) for name in ("route", "begin", "finish", "renew", "release", "coming", "mark", "clean", "elsewhere")
)
LEASING: Final = (BEGIN, RENEW, RELEASE, ELSEWHERE)
"""What a dry run may do too."""
