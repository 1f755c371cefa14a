"""Sweeps: compare a site's calendars with Core's whole schedule, and repair what differs."""

import math
from collections.abc import Callable

import structlog

from consumer.domain.errors import TransientError
from consumer.domain.site import Site
from consumer.domain.window import Window
from consumer.sync.conclusions import ReportedAliases
from consumer.sync.ports import Clock
from consumer.sync.report import Report
from consumer.sync.site_sweep import SiteSweep, SweepRequest
from consumer.sync.sweep_ports import SweepPorts

log = structlog.get_logger(__name__)


class Sweeper:
    """Sweeps sites, several at a time if the caller wants so; logs and counts what each sweep did."""

    def __init__(self, ports: SweepPorts, clock: Clock, *, window_days: int) -> None:
        self._ports = ports
        self._clock = clock
        self._window_days = window_days
        self._aliases = ReportedAliases()

    async def sweep(
        self,
        site: Site,
        *,
        allow_mass_delete: bool = False,
        only: str | None = None,
        named: bool = True,
        overdue_at: float = math.inf,
        progress: Callable[[Report], None] = lambda _report: None,
    ) -> Report:
        """Compare everything of a site and repair what differs. Never raises: the report has what failed.

        Args:
            site: whose calendars.
            allow_mass_delete: delete the events of vanished jobs even if the fuse has blown.
            only: sweep this address alone.
            named: sweep ``only`` even if neither Core nor a link names it; otherwise nothing is done then.
            overdue_at: see :class:`~consumer.sync.site_sweep.SweepRequest`.
            progress: called with the report each time a mailbox has been visited.
        """
        started = self._clock.monotonic()
        report = Report(site.site_id)
        window = Window.of(self._clock.now(), self._window_days)
        request = SweepRequest(site, window, overdue_at, allow_mass_delete, progress)
        sweep = SiteSweep(self._ports, request, report, self._aliases)
        try:
            await (sweep.sweep_site() if only is None else sweep.sweep_mailbox(only, named=named))
        except TransientError as error:
            report.failure, report.ended_early = str(error), True
        except Exception as error:
            report.failure, report.ended_early = f"an unexpected error: {type(error).__name__}", True
            log.critical("unexpected error in a sweep", site=site.site_id, exc_info=True)
        seconds = self._clock.monotonic() - started
        _log(report, seconds)
        if only is None:
            self._count(report, seconds)
        return report

    def forget(self, site_id: str) -> None:
        """Forget what the last sweep of the site found: another replica sweeps it now, or none."""
        self._ports.meter.forget_sweeps(site_id)

    def _count(self, report: Report, seconds: float) -> None:
        meter = self._ports.meter
        for cause, count in report.repairs.items():
            meter.repaired(report.site_id, cause, count)
        # After a failed sweep, the counts of the last complete one are better than its own. But what it holds is held.
        if report.failure is None or report.held:
            meter.held(report.site_id, report.held)
        if report.failure is None:
            meter.unavailable(report.site_id, len(report.unavailable))
        meter.swept(report.site_id, seconds, whole=report.whole)


def _log(report: Report, seconds: float) -> None:
    site_id = report.site_id
    if report.troubles:
        [(reason, _)] = report.troubles.most_common(1)
        log.warning(
            "mailboxes not read",
            site=site_id,
            mailboxes=report.troubles.total(),
            unavailable=len(report.unavailable),
            reason=reason,
        )
    if report.held:
        log.error(
            "deletions held",
            site=site_id,
            held=report.held,
            events=report.events,
            hint="many jobs vanished from Core: if that is right, run calsync sweep --allow-mass-delete",
        )
    if report.failure is not None:
        outcome = "ended early" if report.ended_early else "incomplete"
        log.error("sweep failed", site=site_id, reason=report.failure, outcome=outcome, vanished_deleted=report.deleted)
    log.info(
        "site swept" if report.failure is None else "sweep incomplete",
        site=site_id,
        failure=report.failure,
        mailboxes=report.mailboxes,
        unserved=report.unserved,
        events=report.events,
        unusable=report.unusable,
        repairs=dict(report.repairs),
        vanished_deleted=report.deleted,
        seconds=round(seconds, 2),
    )
