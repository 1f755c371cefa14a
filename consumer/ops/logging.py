"""Logs: JSON lines on stderr, readable ones on a terminal; secrets and addresses are taken out of every line."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

import structlog

_SECRETS: Final = "client_secret|assertion|access_token|refresh_token|password"
_SECRET_NAME: Final = re.compile(rf"(?i){_SECRETS}|authorization")
_SCRUB: Final = (
    (re.compile(r"eyJ[\w-]+\.[\w-]+(\.[\w-]*)?"), "[token]"),
    (re.compile(r"(?i)\bbearer\s+[\w.~+/-]+=*"), "Bearer [token]"),
    (
        re.compile(rf"(?i)({_SECRETS})(\\*[\"']?\s*[=:]\s*)(\\*\"[^\"]*\"|'[^']*'|[^\s&\"',}}]+)"),
        r"\1\2[…]",
    ),
    (re.compile(r"(?i)://[^/\s:@]*:[^/\s@]+@"), "://[…]@"),
    (re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+(@|%40)[\w-]+(\.[\w-]+)+"), "[address]"),
)


def configure(level: str, log_format: str | None) -> None:
    """Set up structlog and the standard library's logging alike."""
    as_json = log_format == "json" or (log_format is None and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        scrub,
    ]
    # The stack has been printed, and scrubbed, by the time the console sees it.
    on_console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer: Any = structlog.processors.JSONRenderer() if as_json else on_console
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[_plain, renderer]))
    # Libraries speak below warning of requests with their addresses: not here.
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def scrub(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take tokens, secrets and addresses out of a line: the last net, not the first."""
    for key, value in event.items():
        # A leading underscore marks what structlog keeps for itself and never prints.
        if not key.startswith("_"):
            event[key] = _named(key, value)
    return event


def _named(name: str, value: Any) -> Any:
    return "[…]" if isinstance(value, str) and _SECRET_NAME.fullmatch(name) else _clean(value)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        for pattern, instead in _SCRUB:
            value = pattern.sub(instead, value)
        return value
    if isinstance(value, list | tuple):
        return [_clean(entry) for entry in value]
    if isinstance(value, Mapping):
        return {_clean(str(key)): _named(str(key), entry) for key, entry in value.items()}
    if value is None or isinstance(value, bool | int | float):
        return value
    return _clean(repr(value))  # what a renderer would print of it


def _plain(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return structlog.stdlib.ProcessorFormatter.remove_processors_meta(_logger, _name, event)
