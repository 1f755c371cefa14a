"""Logs: their form, their level, and that everything the process says goes through one chain."""

import io
import json
import logging as standard
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from consumer.ops import logging

SCRIPT = """
import asyncio, logging, sys, threading, warnings
import structlog
from consumer.ops import logging as ours
from consumer.redaction import KNOWN
ours.configure("info", sys.argv[1])
KNOWN.replace("settings", ["kn0wn-value-of-a-secret", "redis:pa55word"])
log = structlog.get_logger("x")
log.debug("too small to log")
log.info("mailbox parked", mailbox="ann@acme.example", count=5, note="two words", odd="kn0wn-value-of-a-secret")
try:
    raise ValueError("client_secret=s3cret of ann@acme.example, kn0wn-value-of-a-secret")
except ValueError as error:
    log.exception("it failed", cause=error)
    logging.getLogger("library").exception("library failed for %s", "ann@acme.example")
logging.getLogger("httpx").info("GET /users/ann@acme.example")
warnings.warn("old things: password=s3cret")
def in_thread():
    raise KeyError("Boiler of Mrs Brown, s3cret")
thread = threading.Thread(target=in_thread, name="kafka-pump"); thread.start(); thread.join()
class Bad:
    def __del__(self): raise KeyError("Boiler of Mrs Brown")
Bad()
async def lost():
    raise KeyError("Boiler of Mrs Brown")
async def main():
    asyncio.get_running_loop().set_exception_handler(ours.loop_error)
    task = asyncio.create_task(lost())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    asyncio.get_running_loop().call_soon(lambda: {}["Boiler of Mrs Brown"])
    await asyncio.sleep(0.01)
asyncio.run(main())
raise RuntimeError("at the end: 'Boiler of Mrs Brown', Bearer abcdef, pa55word")
"""


def lines(log_format: str) -> list[str]:
    """What a process writes to stderr, in a process of its own because logging is set up for the whole process."""
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, log_format], capture_output=True, check=False, encoding="utf-8", timeout=30
    )
    assert ran.stdout == ""
    assert ran.returncode == 1
    for planted in ("s3cret", "ann@", "Boiler of", "abcdef", "kn0wn", "pa55"):
        assert planted not in re.sub(r"(?m)^ +.*$|File .*?, line.*?\\n.*?\\n", "", ran.stderr), planted
    return ran.stderr.splitlines()


def test_json_logs_are_one_object_a_line_with_the_event_first_and_the_stack_in_it() -> None:
    found = [json.loads(line) for line in lines("json")]
    assert all(list(line)[:3] == ["event", "level", "timestamp"] for line in found)
    parked, failed, library, warned, thread, unraisable, *loop, last = found
    assert list(parked.values())[:2] == ["mailbox parked", "info"]
    assert (parked["mailbox"], parked["count"], parked["odd"]) == ("[address]", 5, "[…]")
    assert parked["timestamp"].endswith("Z")
    assert failed["level"] == "error"
    assert "ValueError: client_secret=[…] of [address], […]" in failed["exception"]
    assert (library["event"], library["message"]) == ("message of a library", "library failed for [address]")
    assert "Traceback" in library["exception"]
    assert warned["library"] == "py.warnings"
    assert (thread["event"], thread["thread"]) == ("unexpected error in a thread", "kafka-pump")
    assert thread["exception"].endswith("KeyError: '…'")
    assert unraisable["event"] == "unexpected error that could not be raised"
    assert [line["event"] for line in loop] == ["unexpected error in the event loop"] * 2
    assert (last["event"], last["level"]) == ("unexpected error", "critical")
    assert last["exception"].endswith("RuntimeError: at the end: '…', Bearer [token], […]")


def test_text_logs_are_readable_lines_with_the_event_before_its_fields_and_the_stack_below() -> None:
    first, *rest = lines("text")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ info     mailbox parked  .*", first)
    assert first.endswith('mailbox parked  mailbox=[address]  count=5  note="two words"  odd=[…]')
    assert sum("Traceback" in line for line in rest) == 7
    assert not any("\x1b" in line for line in rest)


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What was logged since the last call. Puts the process's logging back afterwards."""
    before, root = structlog.get_config(), standard.getLogger()
    handlers, hooks, thread_hook = root.handlers[:], (sys.excepthook, sys.unraisablehook), threading.excepthook
    yield lambda: capsys.readouterr().err
    structlog.configure(**before)
    root.handlers[:] = handlers
    standard.captureWarnings(False)
    (sys.excepthook, sys.unraisablehook), threading.excepthook = hooks, thread_hook


def on_terminal(**environment: str) -> str:
    """What the service's log looks like on a terminal."""
    script = "import structlog; from consumer.ops.logging import configure; configure('info', None);"
    script += "structlog.get_logger().error('it failed', a=1)"
    parent, child = pty.openpty()
    variables = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "TERM"}}
    subprocess.run([sys.executable, "-c", script], stderr=child, env=variables | environment, check=True, timeout=30)
    os.close(child)
    with open(parent, "rb") as terminal:  # noqa: PTH123 (a file descriptor)
        return terminal.read1().decode()


def test_colours_are_on_a_terminal_alone_and_never_with_no_color() -> None:
    assert "\x1b[31m" in on_terminal(TERM="xterm")
    for plain in ({"NO_COLOR": "1", "TERM": "xterm"}, {"TERM": "dumb"}):
        shown = on_terminal(**plain)
        assert "it failed  a=1" in shown
        assert "\x1b" not in shown


def test_a_value_cannot_forge_a_line_or_a_field(written: Callable[[], str]) -> None:
    logging.configure("info", "text")
    structlog.get_logger().info("it is so", what='a\nfoo  level=error  x="1"', colour="\x1b[31m")
    [line] = written().splitlines()
    assert line.endswith(r'what="a\nfoo  level=error  x=\"1\""  colour="\u001b[31m"')


def test_any_value_can_be_logged(written: Callable[[], str]) -> None:
    logging.configure("info", "json")
    values = ["\ud800", 2**70, {1: {2}}, b"x", object, Path("/x"), float("nan"), {"a", "b"}, None, ValueError("'a b'")]
    for value in values:
        structlog.get_logger().info("it is so", value=value)
    found = [json.loads(line)["value"] for line in written().splitlines()]
    assert len(found) == len(values)
    assert found[-1] == "ValueError: '…'"


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_number_that_json_does_not_have_leaves_the_line_valid(number: str, written: Callable[[], str]) -> None:
    logging.configure("info", "json")
    # The large number is one that orjson refuses.
    structlog.get_logger().info("it is so", value=[float(number), {"inner": float(number)}], large=2**70)
    line = json.loads(written(), parse_constant=pytest.fail)
    assert (line["value"], line["large"]) == ([None, {"inner": None}], 2**70)


class Unshowable:
    def __repr__(self) -> str:
        raise ZeroDivisionError


def test_a_record_of_a_library_that_cannot_be_shown_stops_nothing(written: Callable[[], str]) -> None:
    logging.configure("info", "json")
    library = standard.getLogger("library")
    library.warning("%s of a mailbox", Unshowable())
    library.warning("%d of a mailbox", "no number")
    library.warning(Unshowable())
    library.warning("%(size)s of a mailbox", {"other": 1})
    assert [json.loads(line)["message"] for line in written().splitlines()] == [
        "%s of a mailbox",
        "%d of a mailbox",
        "its message cannot be shown",
        "%(size)s of a mailbox",
    ]


def test_a_library_that_repeats_itself_is_logged_once_a_minute(
    written: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    logging.configure("info", "json")
    for second in range(120):
        for name in ("urllib3", "aiokafka"):
            standard.getLogger(name).warning("retry %d", second)
        standard.getLogger("urllib3").error("retry %d", second)
        now[0] += 1
    standard.getLogger("urllib3").warning("given up")
    found = [json.loads(line) for line in written().splitlines()]
    first = [("urllib3", "warning", "retry 0"), ("aiokafka", "warning", "retry 0"), ("urllib3", "error", "retry 0")]
    later = [(name, level, "retry 60") for name, level, _ in first]
    assert [(line["library"], line["level"], line["message"]) for line in found] == [
        *first,
        *later,
        ("urllib3", "warning", "given up"),
    ]
    assert [line.get("repeated") for line in found] == [None] * 3 + [60] * 3 + [None]


def test_a_value_that_cannot_be_shown_stops_nothing(written: Callable[[], str]) -> None:
    logging.configure("info", "json")
    endless: list[object] = ["ann@acme.example"]
    endless.append(endless)
    for value in (Unshowable(), endless):
        structlog.get_logger().info("it is so", value=value)
    shown = [json.loads(line) for line in written().splitlines()]
    assert [(line["event"], line["not_shown"]) for line in shown] == [
        ("it is so", "ZeroDivisionError"),
        ("it is so", "RecursionError"),
    ]


@pytest.mark.usefixtures("written")
def test_a_closed_stderr_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", closed)
    logging.configure("info", "json")
    closed.close()
    structlog.get_logger().info("it is so")


def test_the_level_can_be_changed_while_running_and_back(written: Callable[[], str]) -> None:
    logging.configure("error", "json")
    log = structlog.get_logger()
    log.info("not shown")
    logging.toggle_debug()
    log.debug("shown")
    logging.toggle_debug()
    log.warning("not shown")
    found = [json.loads(line) for line in written().splitlines()]
    assert [(line["event"], line.get("to")) for line in found] == [
        ("log level changed", "debug"),
        ("shown", None),
        ("log level changed", "error"),
    ]


def test_the_change_of_level_is_logged_at_any_level(written: Callable[[], str]) -> None:
    logging.configure("debug", "json")
    logging.toggle_debug()
    assert json.loads(written())["to"] == "debug"


def test_the_stack_of_an_error_that_repeats_is_logged_once_a_minute(written: Callable[[], str]) -> None:
    logging.configure("info", "json")
    for n in range(3):
        try:
            int(f"x{n}")
        except ValueError:
            structlog.get_logger().critical("unexpected error in a run", job=n, exc_info=True)
    lines = [json.loads(line) for line in written().splitlines()]
    assert [line["job"] for line in lines] == [0, 1, 2]
    assert ["Traceback" in line["exception"] for line in lines] == [True, False, False]
    assert "ValueError" in lines[2]["exception"]


def test_causes_and_groups_are_shown_without_content_and_within_bounds() -> None:
    group = ExceptionGroup("two", [ValueError("'Boiler, flat 3'"), *(OSError(n) for n in range(50))])
    group.__cause__ = KeyError("Boiler, flat 3")
    stack = logging.stack_of(group)
    assert "Boiler" not in stack
    assert stack.index("KeyError: '…'") < stack.index("which led to:") < stack.index("ValueError: '…'")
    assert stack.count("  | OSError") == 4

    def deep(n: int) -> None:
        if n == 0:
            raise ValueError("x" * 5000)
        deep(n - 1)

    with pytest.raises(ValueError, match="x") as caught:
        deep(200)
    assert len(logging.stack_of(caught.value)) < 10_000
