"""A command whose stdout or stderr is closed ends as it would otherwise, without a stack."""

import os
import subprocess
import sys

import pytest

from consumer.cli import entry

START = "from consumer.cli.entry import main; main()"


def run(*arguments: str, closed: str) -> "subprocess.CompletedProcess[str]":
    """The command with these streams closed, as a shell's ``>&-`` closes them, and with no settings."""
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", START, *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=False,
        encoding="utf-8",
        timeout=60,
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["--help"], 0), (["site", "list"], entry.USAGE)])
def test_a_closed_stream_is_as_one_that_is_discarded(arguments: list[str], code: int, closed: str) -> None:
    ended = run(*arguments, closed=closed)
    assert ended.returncode == code
    assert "Traceback" not in ended.stderr
    assert "unexpected error" not in ended.stderr
    if closed == ">&-" and code:
        assert ended.stderr.startswith("calsync: CALSYNC_")
