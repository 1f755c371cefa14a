"""Sweeps: a site's calendars compared with Core's whole schedule, and what differs repaired."""

import math
from collections.abc import Callable

import structlog

from consumer.domain.errors import TransientError
from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site
from consumer.domain.window import Window
from consumer.sync.ports import Clock
from consumer.sync.report import Report
from consumer.sync.site_sweep import SiteSweep
from consumer.sync.sweep_ports import Mailboxes, ScheduleSource, ServedSites, SweepMeter
from consumer.sync.sweep_store import SweepStore

log = structlog.get_logger(__name__)


class Sweeper:
    """Sweeps sites, one after another or several at a time."""

    def __init__(
        self,
        store: SweepStore,
        mailboxes: Mailboxes,
        core: ScheduleSource,
        sites: ServedSites,
        clock: Clock,
        meter: SweepMeter,
        *,
        window_days: int,
        dry_run: bool = False,
    ) -> None:
        """A dry run needs a rehearsal for ``mailboxes``."""
        self._store = store
        self._mailboxes = mailboxes
        self._core = core
        self._sites = sites
        self._clock = clock
        self._meter = meter
        self._window_days = window_days
        self._dry_run = dry_run
        self._aliases: set[Mailbox] = set()
        """Mailboxes that were reported to have another address."""

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
        """Compare everything of a site and repair what differs. The report says what failed; nothing is raised.

        Args:
            site: whose calendars.
            allow_mass_delete: delete vanished jobs' events, however many.
            only: sweep this address alone, whether Core and the links know of it or not.
            named: a person said that it is of this site; otherwise Core or a link must say so.
            overdue_at: from when on, on the monotonic clock, it has its share of the runs even while changes wait.
            progress: called with the report whenever a mailbox has been compared.
        """
        started = self._clock.monotonic()
        report = Report(site.site_id)
        sweep = SiteSweep(
            self._store,
            self._mailboxes,
            self._core,
            self._sites,
            site,
            report,
            self._aliases,
            progress,
            overdue_at=overdue_at,
            allow_mass_delete=allow_mass_delete,
            dry_run=self._dry_run,
        )
        window = Window.of(self._clock.now(), self._window_days)
        try:
            await (sweep.whole_site(window) if only is None else sweep.one_mailbox(only, window, named=named))
        except TransientError as error:
            report.failure = str(error)
            log.error("sweep failed, nothing was deleted", site=site.site_id, reason=str(error))
        except Exception as error:
            report.failure = f"an unexpected error: {type(error).__name__}"
            log.critical("sweep failed: an unexpected error", site=site.site_id, exc_info=True)
        seconds = self._clock.monotonic() - started
        self._log(report, seconds)
        if not self._dry_run and only is None:
            self._count(report, seconds)
        return report

    def forget(self, site_id: str) -> None:
        """Another replica sweeps the site from now on, or none: what the last sweep here found is out of date."""
        self._meter.forget_sweeps(site_id)

    @staticmethod
    def _log(report: Report, seconds: float) -> None:
        if report.troubles:
            [(reason, _)] = report.troubles.most_common(1)
            log.warning(
                "mailboxes could not be read",
                site=report.site_id,
                mailboxes=report.troubles.total(),
                unavailable=len(report.unavailable),
                reason=reason,
            )
        if report.failure is not None and report.read_to_end:
            log.error("sweep failed: not everything was read", site=report.site_id, reason=report.failure)
        if report.held:
            log.error(
                "deletions held: so many jobs vanished that Core may be wrong; see calsync sweep --allow-mass-delete",
                site=report.site_id,
                held=report.held,
                events=report.events,
            )
        log.info(
            "site swept" if report.failure is None else "sweep not complete",
            site=report.site_id,
            failure=report.failure,
            mailboxes=report.mailboxes,
            unserved=report.unserved,
            events=report.events,
            unusable=report.unusable,
            repairs=dict(report.repairs),
            seconds=round(seconds, 2),
        )

    def _count(self, report: Report, seconds: float) -> None:
        for cause, count in report.repairs.items():
            self._meter.repaired(report.site_id, cause, count)
        if report.read_to_end:
            # A sweep that broke off says nothing of these: the last one's counts stand.
            self._meter.held(report.site_id, report.held)
            self._meter.unavailable(report.site_id, len(report.unavailable))
        self._meter.swept(report.site_id, seconds, whole=report.whole)
