"""Sweeps: compare a site's calendars with Core's whole schedule, and repair what differs."""

import math
from collections.abc import Callable, Hashable
from typing import Final

import structlog

from consumer.domain.bounded_dict import BoundedDict
from consumer.domain.errors import TransientError
from consumer.domain.site import Site
from consumer.domain.window import Window
from consumer.repeated import Repeated
from consumer.sync.conclusions import ReportedAliases
from consumer.sync.ports import Clock
from consumer.sync.report import Report
from consumer.sync.site_sweep import SiteSweep, SweepRequest
from consumer.sync.sweep_ports import SweepPorts
from consumer.tracing import SPANS

log = structlog.get_logger(__name__)

SITES_NAMED: Final = 20
"""How many sites whose sweeps fail for the same reason are logged one by one."""
_REASONS: Final = 100


class Sweeper:
    """Sweeps sites, several at a time if the caller wants so; logs and counts what each sweep did."""

    def __init__(self, ports: SweepPorts, clock: Clock, *, window_days: int) -> None:
        self._ports = ports
        self._clock = clock
        self._window_days = window_days
        self._aliases = ReportedAliases()
        self._repeated = Repeated(clock.monotonic)
        self._named: BoundedDict[str, set[str]] = BoundedDict(_REASONS)
        """By reason, the sites whose failed sweeps are logged one by one: at most ``SITES_NAMED`` each."""

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
        unexpected: Exception | None = None
        sweep = SiteSweep(self._ports, request, report, self._aliases)
        try:
            with SPANS.span("sweep", site=site.site_id):
                await (sweep.sweep_site() if only is None else sweep.sweep_mailbox(only, named=named))
        except TransientError as error:
            report.failure, report.ended_early = str(error), True
        except Exception as error:  # noqa: BLE001 (_log logs it)
            report.failure, report.ended_early = f"an unexpected error: {type(error).__name__}", True
            unexpected = error
        seconds = self._clock.monotonic() - started
        self._log(report, seconds, unexpected)
        if only is None:
            self._count(report, seconds)
        return report

    def _count(self, report: Report, seconds: float) -> None:
        meter = self._ports.meter
        for cause, count in report.repairs.items():
            meter.repaired(report.site_id, cause, count)
        meter.swept(report.site_id, seconds)

    def _log(self, report: Report, seconds: float, error: Exception | None) -> None:
        """Log how the sweep ended."""
        site_id = report.site_id
        if report.troubles and (report.failure is None or report.ended_early):  # else, they are the failure
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
                hint="many jobs vanished from Core: ask Core's team; only if that is right, run "
                f"calsync sweep --site {site_id} --allow-mass-delete",
            )
        done = {
            "mailboxes": report.mailboxes,
            "unserved": report.unserved,
            "events": report.events,
            "unusable": report.unusable,
            "repairs": dict(report.repairs),
            "vanished_deleted": report.deleted,
            "seconds": round(seconds, 2),
        }
        if error is not None:
            log.critical("unexpected error in a sweep", site=site_id, **done, exc_info=error)
        elif report.failure is None:
            log.info("site swept", site=site_id, **done)
        else:
            outcome = "ended early" if report.ended_early else "incomplete"
            self._repeated.happened(
                self._kind(report.site_id, report.failure),
                log.error,
                "sweep failed",
                site=site_id,
                reason=report.failure,
                outcome=outcome,
                **done,
            )

    def _kind(self, site_id: str, failure: str) -> Hashable:
        """The first sites that fail for a reason have their own lines; the others share one, as when Core is down."""
        named = self._named.setdefault(failure, set())
        if site_id in named or len(named) < SITES_NAMED:
            named.add(site_id)
            return site_id, failure
        return failure
