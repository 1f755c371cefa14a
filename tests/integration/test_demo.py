"""The demo runs through against the real service, and reports a failure."""

import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from sandbox.demo.story import week_of
from sandbox.servers.process import REPOSITORY

FIGURE = re.compile(r"^ *\d+ ms  (.+?) \| (.+)$", re.MULTILINE)
VERDICT = "The calendars are equal to Core's schedule."


def _demo(logs: Path, *options: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "sandbox.demo", "--logs", logs, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONUNBUFFERED": "1"} | environment,
    )


def test_once_plays_the_week_with_a_figure_for_each_step_and_ends_with_0(tmp_path: Path) -> None:
    demo = _demo(tmp_path, "--once")
    output, _ = demo.communicate(timeout=90)
    assert demo.returncode == 0, output
    assert [what for what, _ in FIGURE.findall(output)] == [step.what for step in week_of(datetime.now(UTC))]
    assert VERDICT in output


def test_it_goes_on_at_random_until_ctrl_c_and_then_ends_cleanly(tmp_path: Path) -> None:
    demo = _demo(tmp_path, "--pace", "0")
    assert demo.stdout is not None
    figures, wanted = 0, len(week_of(datetime.now(UTC))) + 20
    output = ""
    with demo.stdout:
        for line in demo.stdout:
            output += line
            if FIGURE.match(line):
                figures += 1
                if figures == wanted:
                    demo.send_signal(signal.SIGINT)
        assert demo.wait(30) == 0, output
    assert figures >= wanted
    assert VERDICT in output


def test_a_service_that_does_not_start_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    demo = _demo(tmp_path, "--once", CALSYNC_WINDOW_DAYS="none")
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert str(tmp_path / "calsync.log") in output
    assert "CALSYNC_WINDOW_DAYS" in output
