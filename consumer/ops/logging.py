"""Logs: one line each on stderr, JSON or readable, the event before its fields, nothing secret in any of them.

Everything that the process says goes through :func:`configure`'s one chain: the service's own events, the standard
library's loggers, warnings, and errors that nobody caught. ``_rendered`` is the one place where redaction is enforced.
"""

import asyncio
import json
import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, Final, TextIO

import orjson
import structlog

from consumer import redaction
from consumer.domain.bounded_dict import BoundedDict
from consumer.repeated import REPEAT_SECONDS, Repeated

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_COLOURS: Final = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}
_BOLD, _FAINT, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_BARE: Final = re.compile(r"[^\s\"'=\x00-\x1f\x7f-\x9f]+")
_FRAMES: Final = 30
_CHAINED: Final = 5
"""How many errors of a chain or a group are shown."""
_KEY_CHARACTERS: Final = 200
"""How much of a library's message decides whether it is the same again."""

_stacks: Final[BoundedDict[tuple[Any, ...], float]] = BoundedDict(100)
"""When each stack was logged, on the monotonic clock."""

_writing: Final = threading.RLock()
"""Reentrant: the garbage collector may run a finalizer that fails, and that is logged, while a line is written."""

log = structlog.get_logger(__name__)


class _State:
    """What holds for the whole process."""

    level = _LEVELS["info"]
    """Events below it are dropped."""
    configured = _LEVELS["info"]
    as_json = True
    colours = False
    stream: TextIO = sys.stderr
    is_set = False


def configure(level: str, log_format: str | None) -> None:
    """Set up every source of log lines. ``log_format``: ``json``, ``text``, or ``None`` for text on a terminal."""
    _State.stream, _State.is_set = sys.stderr, True
    is_terminal = sys.stderr.isatty()
    _State.as_json = log_format == "json" or (log_format is None and not is_terminal)
    _State.colours = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    _State.level = _State.configured = _LEVELS[level.lower()]
    structlog.configure(
        processors=[_gate, _ordered, _rendered],
        # The gate decides, so that the level can change while the service runs.
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=lambda *_: _Lines(),
        cache_logger_on_first_use=True,
    )
    # Libraries write lines below warning about requests with their addresses: these are never logged.
    logging.basicConfig(level=logging.WARNING, handlers=[_Library()], force=True)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable


def toggle_debug() -> None:
    """Set the level to debug, or back to the configured one. Logged as a warning, so that it shows at any level."""
    is_back = _State.level == _LEVELS["debug"]
    _State.level = _LEVELS["debug"]
    after = _State.configured if is_back else _State.level
    log.warning("log level changed", to=next(name for name, level in _LEVELS.items() if level == after))
    _State.level = after


def loop_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The event loop's exception handler: for errors that no task's owner took."""
    error = context.get("exception")
    log.critical("unexpected error in the event loop", what=_head(str(context.get("message", ""))), exc_info=error)


def unexpected(error: BaseException) -> None:
    """Log an error that ends the process; also one before the settings are read."""
    if not _State.is_set:
        configure("info", None)
    log.critical("unexpected error", exc_info=error)


class _Lines:
    """Writes lines. A stderr that is closed or full must not stop the service."""

    def msg(self, line: str) -> None:
        with _writing, suppress(OSError, ValueError):
            _State.stream.write(f"{line}\n")
            _State.stream.flush()

    debug = info = warning = error = critical = exception = msg


class _Library(logging.Handler):
    """Has the standard library's records logged as events: the same one once a minute.

    Two records are the same if their logger, level and message are, before its arguments are put in. ``Handler`` calls
    ``emit`` under a lock.
    """

    def __init__(self) -> None:
        super().__init__()
        self._repeated = Repeated(time.monotonic)

    def emit(self, record: logging.LogRecord) -> None:
        level = min(_LEVELS.values(), key=lambda level: abs(level - record.levelno))
        error = record.exc_info[1] if record.exc_info else None
        same = record.name, level, _message(lambda: str(record.msg))[:_KEY_CHARACTERS]
        message = _head(_message(record.getMessage, lambda: str(record.msg)))
        write = partial(log.log, level)
        self._repeated.happened(
            same, write, "message of a library", library=record.name, message=message, exc_info=error
        )


def _message(*ways: Callable[[], str]) -> str:
    """What the first of these ways gives that raises nothing: a foreign ``__str__`` may raise anything."""
    for way in ways:
        with suppress(Exception):
            return way()
    return "its message cannot be shown"


def _head(message: str) -> str:
    """The first line of a library's message: asyncio puts whole objects into the others."""
    return message.partition("\n")[0]


def _gate(_logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if _LEVELS[name if name != "exception" else "error"] < _State.level:
        raise structlog.DropEvent
    return event


def _ordered(_logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The event, the level and the time before the fields; a stack as text after them."""
    error = event.pop("exc_info", None)
    line = {
        "event": event.pop("event", ""),
        "level": name if name != "exception" else "error",
        "timestamp": datetime.now(UTC),
        **event,
    }
    if error:
        if not isinstance(error, BaseException):
            error = error[1] if isinstance(error, tuple) else sys.exc_info()[1]
        if error is not None:
            line["exception"] = _stack_once(str(line["event"]), error)
    return line


def _rendered(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> str:
    """The line. What may hold a secret, a token or an address is cleaned value by value before it is rendered."""
    try:
        line = _render(event)
        if redaction.is_clean(line):
            return line
        return _render({key: redaction.named(key, value) for key, value in event.items()})
    except Exception as error:  # noqa: BLE001 (a value that cannot be shown must not stop what logs it)
        kept = {key: event[key] for key in ("event", "level", "timestamp")}
        kept["event"] = redaction.text(str(event["event"]))
        return _render({**kept, "not_shown": type(error).__name__})


def _render(event: MutableMapping[str, Any]) -> str:
    return _json(event) if _State.as_json else _text(event)


def _json(event: Any) -> str:
    try:
        return orjson.dumps(event, default=_shown, option=orjson.OPT_UTC_Z).decode()
    except (TypeError, ValueError):  # a broken character, a number of more than 64 bits, a key that is not text
        return json.dumps(redaction.value(event), default=_shown)


def _shown(value: Any) -> Any:
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return redaction.error_text(value) if isinstance(value, BaseException) else repr(value)


def _text(event: MutableMapping[str, Any]) -> str:
    """A readable line: time, level, event, fields; below it the stack."""
    fields = dict(event)
    what, level, at = fields.pop("event"), fields.pop("level"), fields.pop("timestamp")
    stack = fields.pop("exception", None)
    moment = at.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(at, datetime) else str(at)[:19] + "Z"
    if _State.colours:
        before = f"{_FAINT}{moment}{_PLAIN} {_COLOURS.get(level, '')}{level:8}{_PLAIN}"
        parts = [f"{before} {_BOLD}{_plain(what, words=True)}{_PLAIN}"]
        parts += [f"{_FAINT}{key}={_PLAIN}{_plain(value)}" for key, value in fields.items()]
    else:
        parts = [f"{moment} {level:8} {_plain(what, words=True)}"]
        parts += [f"{key}={_plain(value)}" for key, value in fields.items()]
    line = "  ".join(parts)
    return line if stack is None else f"{line}\n{stack}"


def _plain(value: Any, *, words: bool = False) -> str:
    """A value on one line: quoted if it holds white space or control characters."""
    if isinstance(value, str) and (_BARE.fullmatch(value) or (words and value.isprintable())):
        return value
    return _json(value)


def _stack_once(event: str, error: BaseException) -> str:
    """The stack of an error; its last line alone if the same was logged less than a minute ago."""
    frames = traceback.extract_tb(error.__traceback__)
    place = (event, type(error), frames[-1].filename if frames else "", frames[-1].lineno if frames else 0)
    now, logged_at = time.monotonic(), _stacks.get(place)
    if logged_at is not None and now - logged_at < REPEAT_SECONDS:
        return f"{redaction.error_text(error)} (its stack was logged less than a minute ago)"
    _stacks[place] = now
    return stack_of(error)


def stack_of(error: BaseException) -> str:
    """The error's stack with its causes, in the order of Python's own, without what the messages quote."""
    return "\n".join(_stack(error, _CHAINED))


def _stack(error: BaseException, most: int) -> list[str]:
    lines: list[str] = []
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and most > 1:
        lines += [*_stack(before, most - 1), "", "which led to:", ""]
    frames = traceback.extract_tb(error.__traceback__)
    if frames:
        lines.append("Traceback (most recent call last):")
        lines += [line.rstrip("\n") for line in traceback.format_list(frames[-_FRAMES:])]
    lines.append(redaction.error_text(error))
    if isinstance(error, BaseExceptionGroup) and most > 1:
        for inner in error.exceptions[:_CHAINED]:
            lines += [f"  | {line}" for line in "\n".join(_stack(inner, most - 1)).splitlines()]
    return lines


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    unexpected(error.with_traceback(trace))


def _uncaught_in_thread(given: threading.ExceptHookArgs) -> None:
    name = given.thread.name if given.thread is not None else "?"
    log.critical("unexpected error in a thread", thread=name, exc_info=given.exc_value)


def _unraisable(given: Any) -> None:
    log.error("unexpected error that could not be raised", exc_info=given.exc_value)
