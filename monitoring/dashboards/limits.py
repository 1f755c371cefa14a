"""The numbers at which panels change their colour. A test holds them equal to the thresholds of the alerts."""

from typing import Final, NamedTuple

MINUTE: Final = 60.0
DAY: Final = 86400.0

ALERT_THRESHOLDS: Final = {
    "CalsyncTooOld": 5 * MINUTE,
    "CalsyncPartitionWaits": 5 * MINUTE,
    "CalsyncFeedDead": 2 * MINUTE,
    "CalsyncSweepStale": 15 * MINUTE,
    "CalsyncSitesFileInvalid": 5 * MINUTE,
    "CalsyncGraphUnavailable": 0.5,
    "CalsyncGraphThrottled": 0.05,
    "CalsyncClientSecretExpiring": 30,
    "CalsyncClientSecretExpiresSoon": 7,
    "CalsyncRestarting": 3.0,
}
"""By alert, in the unit of its rule: seconds, shares of 1, counts; days of the client secrets."""
ON_TIME_SECONDS: Final = 60
"""A change must be in the calendar within this time. It is also a bucket of the latency's histogram."""
OBJECTIVE: Final = 0.99
"""The share of changes, and of sweeps, that must be on time."""
FAST_BURN: Final = 14.4
"""CalsyncChangesLate pages when the error budget is spent this many times too fast, over one hour."""
SLOW_BURN: Final = 6.0
"""The same over six hours."""
LONG_AGO: Final = 10 * 365 * DAY
"""An age above this means that the timestamp is 0: what it dates has never happened."""


class Step(NamedTuple):
    """From ``value`` up, a panel has this colour. The first step of a panel has no value."""

    value: float | None
    colour: str


Steps = tuple[Step, ...]
NEUTRAL: Final[Steps] = (Step(None, "blue"),)


def page_above(value: float) -> Steps:
    """Red from ``value`` up."""
    return (Step(None, "green"), Step(value, "red"))


def ticket_above(value: float) -> Steps:
    """Orange from ``value`` up."""
    return (Step(None, "green"), Step(value, "orange"))


def page_below(value: float) -> Steps:
    """Red below ``value``."""
    return (Step(None, "red"), Step(value, "green"))


def pages(alert: str) -> Steps:
    """Red where ``alert`` fires."""
    return page_above(ALERT_THRESHOLDS[alert])


def tickets(alert: str) -> Steps:
    """Orange where ``alert`` fires."""
    return ticket_above(ALERT_THRESHOLDS[alert])


SECRET: Final[Steps] = (
    Step(None, "red"),
    Step(0, "orange"),
    Step(ALERT_THRESHOLDS["CalsyncClientSecretExpiresSoon"] * DAY, "yellow"),
    Step(ALERT_THRESHOLDS["CalsyncClientSecretExpiring"] * DAY, "green"),
)
"""For the time that a client secret is still valid."""
