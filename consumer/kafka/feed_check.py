"""Checks the feed for faults, for the team that emits it. Pure."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from consumer.kafka.decode import Changed, Decoded, Deleted, Incomplete, Truncated
from consumer.kafka.parcel import UNREADABLE
from consumer.kafka.record import Record

_AHEAD_SECONDS: Final = 60.0


@dataclass(slots=True)
class Fault:
    """One kind of fault, with the number of its records."""

    what: str
    hint: str
    count: int = 0
    partition: int = 0
    """Of the newest record that has it."""
    offset: int = 0


@dataclass(slots=True)
class FeedCheck:
    """Checks records one by one, in the order of their partitions.

    Its dictionaries and sets have at most a few entries for each record: the command bounds the records that it reads.
    """

    sites: Collection[str]
    """The ids in the sites file."""
    records: int = 0
    jobs: set[str] = field(default_factory=set)
    newest: float | None = None
    """Unix time of the newest commit."""
    faults: dict[str, Fault] = field(default_factory=dict)
    _revisions: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Of each job: its highest revision, and when that was committed."""

    def unreadable(self, record: Record, reason: str) -> None:
        """Note a record that the decoder refuses. The service dead-letters such a record."""
        self._any(record)
        self._found(
            record, reason, "such a record becomes a dead letter; docs/for-cores-team.md describes what can be read"
        )

    def read(self, record: Record, decoded: Decoded) -> None:
        """Check the content of a record that can be read."""
        self._any(record)
        match decoded:
            case Changed(job, committed_at):
                self._job(record, job.job_id, committed_at)
                self._revision(record, job.job_id, job.revision, committed_at)
                if job.site_id not in self.sites:
                    self._found(
                        record,
                        "a site that the sites file does not name",
                        "its records are skipped: have the site added, or correct site_id",
                    )
                if job.unusable_addresses:
                    self._found(
                        record,
                        "a calendar_email that no mailbox can have",
                        "it has white space or invisible characters inside: have it typed again; until then its worker "
                        "is left out, and no event of the job is deleted for being unassigned",
                    )
            case Incomplete(job_id, _, committed_at):
                self._job(record, job_id, committed_at)
                self._found(
                    record,
                    "values that the database did not log",
                    "each costs a question to Core's API: set REPLICA IDENTITY FULL, or keep long texts out of the row",
                )
            case Deleted(job_id, committed_at):
                self._job(record, job_id, committed_at)
                self._revisions.pop(job_id, None)
            case Truncated():
                self._found(record, "the table was truncated", "nothing is deleted for that: delete rows instead")

    def topic_wide(self, what: str, hint: str) -> None:
        """Note a fault of the topic itself."""
        self.faults.setdefault(what, Fault(what, hint)).count += 1

    def _any(self, record: Record) -> None:
        self.records += 1
        for name, value in record.headers:
            if name == UNREADABLE:
                reason = value.decode(errors="replace") if isinstance(value, bytes) else value
                self._found(
                    record,
                    f"headers that cannot be read: {reason}",
                    "they count as absent, the record is read: have its producer write names in UTF-8",
                )

    def _job(self, record: Record, job_id: str, committed_at: float | None) -> None:
        self.jobs.add(job_id)
        if committed_at is None:
            return
        self.newest = max(self.newest or committed_at, committed_at)
        if committed_at > record.timestamp + _AHEAD_SECONDS:
            self._found(
                record, "committed later than written to Kafka", "the database's clock or the broker's is wrong"
            )

    def _revision(self, record: Record, job_id: str, revision: int, committed_at: float | None) -> None:
        """Compare revisions in the order of commits: Debezium repeats records after a restart.

        Snapshots have no commit time, so they are not compared.
        """
        if committed_at is None:
            return
        known, known_at = self._revisions.get(job_id, (-1, 0.0))
        if revision < known and committed_at > known_at:
            self._found(
                record,
                "a revision lower than the one before it",
                "such a state is stale and changes nothing: draw revision from one sequence with every change",
            )
        if revision > known:
            self._revisions[job_id] = revision, committed_at

    def _found(self, record: Record, what: str, hint: str) -> None:
        fault = self.faults.setdefault(what, Fault(what, hint))
        fault.count += 1
        fault.partition, fault.offset = record.partition, record.offset
