"""Foreign answers: pages of a proxy or an ingress in the place of the service that was asked.

Only a service's own error format says something about what was asked. A 404 "default backend" page does not mean that
the job, the schema, the mailbox or the event does not exist (kubernetes/ingress-nginx#1551, edenhill/kcat#212).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

import structlog

from consumer.domain.bounded_dict import BoundedDict
from consumer.http import Answer

log = structlog.get_logger(__name__)

Part = Literal["core", "registry", "graph", "entra"]
LOG_SECONDS: Final = 60.0
_KINDS: Final = 100
"""How many different kinds of foreign answer are remembered for the log."""


@dataclass(slots=True)
class _Seen:
    logged_at: float
    unlogged: int = 0


class ForeignAnswers:
    """Counts foreign answers, and logs each kind once a minute with how often it came."""

    def __init__(self, count: Callable[[Part], None], monotonic: Callable[[], float]) -> None:
        """``count`` is called for every foreign answer; ``monotonic`` is in seconds."""
        self._count = count
        self._monotonic = monotonic
        self._seen: BoundedDict[tuple[Part, str, int, str], _Seen] = BoundedDict(_KINDS)

    def saw(self, part: Part, url: str, answer: Answer) -> str:
        """Count an answer; returns what it was, in words without its body: ``HTTP 404 text/plain from core.example``.

        Args:
            part: the service that was asked.
            url: where the request went; only its host is used.
            answer: what came back.
        """
        host = urlsplit(url).hostname or "?"
        content_type = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower() or "no content type"
        self._count(part)
        self._log((part, host, answer.status, content_type))
        return f"HTTP {answer.status} {content_type} from {host}, which is not an answer of {part}"

    def _log(self, kind: tuple[Part, str, int, str]) -> None:
        now = self._monotonic()
        seen = self._seen.get(kind)
        if seen is not None and now - seen.logged_at < LOG_SECONDS:
            seen.unlogged += 1
            return
        part, host, status, content_type = kind
        log.warning(
            "foreign answer: a proxy or an ingress answers instead of the service",
            part=part,
            host=host,
            status=status,
            content_type=content_type,
            count=1 + (seen.unlogged if seen else 0),
        )
        self._seen[kind] = _Seen(now)
