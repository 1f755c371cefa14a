"""What can go wrong, sorted by what to do next. Adapters raise these and nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class CalsyncError(Exception):
    """Base of all errors that this service raises."""


class ConfigurationError(CalsyncError):
    """Settings or sites that cannot be used: the command ends with exit code 2."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@contextmanager
def collected(problems: list[str]) -> Iterator[None]:
    """Note what a part of the configuration has wrong, and go on to the next: all problems are reported at once."""
    try:
        yield
    except ConfigurationError as error:
        problems += error.problems


class InvalidRecordError(CalsyncError):
    """A record or row that was read, but says something impossible. Names the field, never its content."""


class UndecodableError(CalsyncError):
    """Bytes that are not a record: they go to the dead letters as they are."""


class TransientError(CalsyncError):
    """Try again later; nothing was decided."""

    def __init__(
        self,
        reason: str,
        *,
        retry_after: float | None = None,
        unknown: bool = False,
        tenant_wide: bool = False,
        foreign: bool = False,
    ) -> None:
        """
        Args:
            reason: what happened, without personal data.
            retry_after: seconds the other side asked us to wait; ``None`` leaves it to our own back-off.
            unknown: the request may have been carried out: look before repeating it.
            tenant_wide: not this mailbox's fault; every request of the tenant meets it.
            foreign: the answer was not in the protocol of the service asked (a proxy's or an ingress's page), so it
                proves nothing about what was asked. See :mod:`consumer.foreign`.
        """
        super().__init__(reason)
        self.retry_after = retry_after
        self.unknown = unknown
        self.tenant_wide = tenant_wide
        self.foreign = foreign


class RunAgainError(TransientError):
    """Run the mailbox's lane again at once. Nothing has failed: this run cannot do the next step itself.

    For example, a create needs an intent, and only the beginning of a run writes one.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason, retry_after=0.0)


class StoreUnavailableError(TransientError):
    """Redis cannot be reached, or answers that it cannot serve."""


class CoreUnavailableError(TransientError):
    """Core's API gave no whole, well-formed answer. A failed read is an error, never an empty list."""


class ReadOnlyError(CalsyncError):
    """A write was attempted in a dry run: a fault of this service, stopped before it was sent."""

    def __init__(self, what: str) -> None:
        super().__init__(f"dry run: {what} was refused")


class GoneError(CalsyncError):
    """The event that was named does not exist (any more)."""


class DuplicateTransactionError(CalsyncError):
    """An earlier create used this transactionId, so this create made no event."""

    def __init__(self, event_id: str | None) -> None:
        super().__init__("the transactionId has already been used")
        self.event_id = event_id
        """The event that Graph names, if it names one."""


@dataclass
class MailboxRefusedError(CalsyncError):
    """This mailbox cannot be served; the rest of its site can."""

    code: str
    hourly: bool = False
    """Curable from the other side, so tried again every hour; otherwise only by ``calsync mailbox enable``."""

    def __str__(self) -> str:
        return self.code


class ForbiddenError(CalsyncError):
    """A 403 or 401, which alone does not show whether the mailbox or the whole site is refused."""

    def __init__(self, code: str, *, write: bool = False, setting: bool = False, token: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.write = write
        """Whether the request was a write: consent may be given for reading only."""
        self.setting = setting
        """Whether it was a read of the mailbox's time-zone setting, which an event does not need."""
        self.token = token
        """Whether it was a 401: Graph refused the token, and a new one too."""


@dataclass
class SiteRefusedError(CalsyncError):
    """No mailbox of this site can be served until somebody acts: a secret, a consent, an app, a tenant."""

    code: str
    """``AADSTS…`` or Graph's code."""
    hint: str
    """What the site's administrator should do, in the words of the guide's troubleshooting."""

    def __str__(self) -> str:
        return f"{self.code}: {self.hint}"


class RequestRefusedError(CalsyncError):
    """Graph calls our request malformed: a fault of this service, logged as an error; the record is dead-lettered."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"Graph refused the request: {status} {code}")
        self.status = status
        self.code = code


class ZoneRefusedError(RequestRefusedError):
    """Graph does not know the time zone that the event's times are written in."""
