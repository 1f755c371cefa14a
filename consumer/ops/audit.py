"""The audit as lines of the log: ``audit`` is true in each."""

from collections.abc import Sequence

import structlog

from consumer.sync.audit import Action, AuditCause

log = structlog.get_logger(__name__)


class AuditLog:
    """:class:`consumer.sync.audit.Audit` in the log, at level info."""

    def written(
        self,
        action: Action,
        site_id: str,
        job_id: str,
        event_id: str,
        *,
        cause: AuditCause,
        revision: int,
        fields: Sequence[str],
    ) -> None:
        """See the port."""
        about = {"audit": True, "site": site_id, "job": job_id, "event_id": event_id, "cause": cause}
        match action:
            case "created":
                log.info("event created", **about, revision=revision)
            case "deleted":
                log.info("event deleted", **about, revision=revision)
            case "updated":
                log.info("event updated", **about, revision=revision, fields=fields)
            case "claimed":
                log.info("event updated", **about, revision=revision, fields=fields, claimed=True)
