"""The company of the demo: two sites, their workers and their mailboxes."""

from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from tzlocal.windows_tz import win_tz

from sandbox.stack import SiteSpec

LONDON: Final = ZoneInfo("Europe/London")
SYDNEY: Final = ZoneInfo("Australia/Sydney")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox in Outlook."""

    site_id: str
    address: str
    windows_zone: str
    """The time zone that its owner chose, by its Windows name."""
    state: str = "ok"
    """A mailbox state of the sandbox's Graph."""

    @property
    def zone(self) -> ZoneInfo:
        """The same time zone."""
        return ZoneInfo(win_tz[self.windows_zone])

    @property
    def label(self) -> str:
        """The short name of the address."""
        return self.address.partition("@")[0]


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker, as at the start of the week."""

    worker_id: str
    site_id: str
    name: str
    calendar_email: str


NORTHWIND: Final = SiteSpec("northwind", "Northwind Inspections", "Europe/London")
TAILSPIN: Final = SiteSpec("tailspin", "Tailspin Lifts", "Australia/Sydney")
SITES: Final = (NORTHWIND, TAILSPIN)

ANNA: Final = Worker("anna", NORTHWIND.site_id, "Anna", "anna@northwind.example")
BEN: Final = Worker("ben", NORTHWIND.site_id, "Ben", "ben@northwind.example")
CHLOE: Final = Worker("chloe", NORTHWIND.site_id, "Chloë", "chloe@northwind.example")
DMITRI: Final = Worker("dmitri", NORTHWIND.site_id, "Dmitri", "dmitri@northwind.example")
EWA: Final = Worker("ewa", TAILSPIN.site_id, "Ewa", "ewa@tailspin.example")
WORKERS: Final = (ANNA, BEN, CHLOE, DMITRI, EWA)

CHLOES_NEW_EMAIL: Final = "chloe.hughes@northwind.example"

MAILBOXES: Final = (
    Mailbox(NORTHWIND.site_id, ANNA.calendar_email, "GMT Standard Time"),
    Mailbox(NORTHWIND.site_id, BEN.calendar_email, "W. Europe Standard Time"),
    Mailbox(NORTHWIND.site_id, CHLOE.calendar_email, "Eastern Standard Time"),
    Mailbox(NORTHWIND.site_id, CHLOES_NEW_EMAIL, "Eastern Standard Time"),
    Mailbox(NORTHWIND.site_id, DMITRI.calendar_email, "GMT Standard Time", state="no-licence"),
    Mailbox(TAILSPIN.site_id, EWA.calendar_email, "AUS Eastern Standard Time"),
)

PARKED: Final = frozenset(mailbox.address for mailbox in MAILBOXES if mailbox.state != "ok")
"""Mailboxes that Graph refuses to serve, so they contain nothing."""
