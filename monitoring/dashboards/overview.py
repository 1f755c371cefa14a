"""The overview: what an SRE opens first. Does the service work, and if not, which part fails?"""

from typing import Final

from monitoring.dashboards.limits import (
    ALERT_THRESHOLDS,
    FAST_BURN,
    OBJECTIVE,
    ON_TIME_SECONDS,
    SLOW_BURN,
    page_above,
    page_below,
    pages,
    ticket_above,
    tickets,
)
from monitoring.dashboards.parts import UP, Column, Row, board, graph, never, number, rows_by, words
from monitoring.dashboards.shared import (
    DOWN,
    NONE,
    PARKED,
    PAUSED,
    SECRET_VALID,
    SERVED,
    SITE_URL,
    WAITING,
    blocked_partitions,
    feed_age,
    graph_answers,
    graph_fails,
    kafka_up,
    mailboxes_with_work,
    oldest_by_replica,
    oldest_record,
    records_done,
    records_lost,
    sites_down,
    throttled,
)

SWEEP_AGE: Final = "time() - max by (site) (calsync_sweep_last_success_timestamp_seconds)"
STALE: Final = f"{ALERT_THRESHOLDS['CalsyncSweepStale']:g}"


def on_time(window: str) -> str:
    """The share of changes that were in the calendar in time."""
    good = f'calsync_event_latency_seconds_bucket{{le="{ON_TIME_SECONDS:.1f}"}}'
    return f"sum(increase({good}[{window}])) / sum(increase(calsync_event_latency_seconds_count[{window}]))"


def burn(window: str) -> str:
    """How many times faster than allowed late changes spend the error budget."""
    return f"(1 - {on_time(window)}) / {1 - OBJECTIVE:g}"


def overview() -> str:
    """The JSON of the dashboard."""
    return board(
        "calsync-overview",
        "Does the service work, and if not, which part fails? Red: somebody is paged. Orange: a ticket.",
        [_working(), _needs(), _changes(), _work(), _sites(), _replicas()],
    )


def _working() -> Row:
    return Row(
        "Does it work?",
        [
            number(
                "Changes on time",
                on_time("$__range"),
                means=f"Share of changes that were in the calendar within {ON_TIME_SECONDS} seconds after the commit "
                f"in Core's database, over the time shown. Objective: {OBJECTIVE:.0%}.",
                act="Look at the oldest record, at Graph's failures and at throttling, in this order.",
                unit="percentunit",
                steps=page_below(OBJECTIVE),
                empty="no change",
                decimals=2,
            ),
            number(
                "Sweeps on time",
                f"avg(avg_over_time((({SWEEP_AGE} unless on (site) {PAUSED}) <= bool {STALE})[$__range:1m]))",
                means="Share of time and sites in which the last complete sweep was at most 15 minutes old, over the "
                f"time shown. Paused sites are left out. Objective: {OBJECTIVE:.0%}.",
                act="The table of sites shows which sites are late. Look for “sweep failed” in the log.",
                unit="percentunit",
                steps=page_below(OBJECTIVE),
                empty="no site",
                decimals=2,
            ),
            number(
                "Replicas",
                "count(calsync_build_info) or vector(0)",
                means="Replicas that answer Prometheus. Alert: CalsyncNoReplica at 0.",
                act="If there are fewer than you deployed, look at the pods and at the last lines of their logs.",
                steps=page_below(1),
            ),
            feed_age("calsync-kafka"),
            oldest_record("calsync-kafka"),
            sites_down("calsync-site"),
            number(
                "Sweeps stale",
                f"count(({SWEEP_AGE} > {STALE}) unless on (site) ({PAUSED} or {DOWN})) or {NONE}",
                means="Served sites whose last complete sweep is older than 15 minutes. Alert: CalsyncSweepStale.",
                act="Look for “sweep failed” in the log. If Core is down or deletions are held, repair that first.",
                steps=page_above(1),
                link="calsync-site",
            ),
            number(
                "Held deletions",
                "sum(max by (site) (calsync_sweep_held_deletions))",
                means="Deletions that the fuse holds back: more jobs vanished at once than is plausible. Alert: "
                "CalsyncDeletionsHeld.",
                act="Ask Core's team whether the jobs were really deleted. Only then allow the deletions with "
                "`calsync sweep --allow-mass-delete`.",
                steps=page_above(1),
                link="calsync-site",
            ),
        ],
    )


def _needs() -> Row:
    return Row(
        "What it needs",
        [
            kafka_up("calsync-kafka"),
            number(
                "Redis",
                "min(calsync_redis_up) + min(calsync_redis_writable)",
                means="Whether Redis answers every replica and accepts writes. Alerts: CalsyncRedisUnavailable, "
                "CalsyncRedisRefusesWrites.",
                act="The service waits and loses nothing. If Redis refuses writes, look at its memory and its disk.",
                steps=page_below(2),
                mappings=words({0: ("down", "red"), 1: ("refuses writes", "red"), 2: ("up", "green")}),
            ),
            number(
                "Core",
                "min(calsync_core_up)",
                means="Whether Core's last answer to each replica was usable. Only sweeps ask Core. Alert: "
                "CalsyncCoreUnavailable.",
                act="Changes still arrive through Kafka. Ask Core's team.",
                steps=page_below(1),
                mappings=UP,
                empty="not asked yet",
            ),
            graph_fails("calsync-graph"),
            number(
                "Foreign answers",
                "sum(increase(calsync_foreign_answers_total[$__rate_interval]))",
                means="Answers that did not come from the service that was asked, but from a proxy or an ingress. "
                "Alert: CalsyncForeignAnswers, if they go on.",
                act="The log names the host. Look at the proxy, the ingress and the certificates on the way to it.",
                steps=ticket_above(1),
                link="calsync-graph",
            ),
            blocked_partitions("calsync-kafka"),
            records_lost("calsync-kafka"),
            number(
                "Sites file age",
                "time() - min(calsync_sites_file_last_success_timestamp_seconds)",
                means="Time since a replica last found the sites file valid. Alert: CalsyncSitesFileInvalid.",
                act="The log names the fault and its line. Until it is corrected, the last valid file is in use.",
                unit="s",
                steps=tickets("CalsyncSitesFileInvalid"),
                mappings=never(),
            ),
        ],
    )


def _changes() -> Row:
    latency = "sum by (le) (rate(calsync_event_latency_seconds_bucket[$__rate_interval]))"
    return Row(
        "Changes",
        [
            records_done("calsync-kafka"),
            graph(
                "From Core's commit to the calendar",
                {
                    name: f"histogram_quantile({share}, {latency})"
                    for name, share in {"99 %": 0.99, "95 %": 0.95, "50 %": 0.5}.items()
                },
                means="Time from the commit in Core's database to Graph's acceptance, within which this share of the "
                f"changes arrived. Objective: {OBJECTIVE:.0%} within {ON_TIME_SECONDS} seconds.",
                act="If it is high while the oldest record is young, Graph is slow: look at the Graph dashboard.",
                unit="s",
                steps=page_above(ON_TIME_SECONDS),
            ),
            oldest_by_replica("calsync-kafka"),
            graph(
                "Error budget, spent how fast",
                {"over 1 hour": burn("1h"), "over 6 hours": burn("6h")},
                means="1: late changes spend the error budget exactly by the end of 30 days. Alert: CalsyncChangesLate "
                f"above {FAST_BURN:g} over 1 hour, or above {SLOW_BURN:g} over 6 hours.",
                act="Above a line, somebody was or will be paged. The other panels of this row show since when and "
                "why.",
                unit="short",
                steps=(*ticket_above(SLOW_BURN), *page_above(FAST_BURN)[1:]),
            ),
            graph_answers("calsync-graph"),
            throttled("calsync-graph"),
        ],
    )


def _work() -> Row:
    return Row(
        "Work that waits, and work for people",
        [
            mailboxes_with_work(width=6),
            graph(
                "Handed over to sweeps",
                {"{{site}}": "max by (site) (calsync_assignments_dirty)"},
                means="Assignments whose work was left to the next sweep. Alert: CalsyncWorkHandedOver after 30 "
                "minutes.",
                act="If it stays above 0, look for a parked mailbox, a suspended site or held deletions.",
                unit="short",
                link="calsync-site",
                width=6,
            ),
            graph(
                "Mailboxes not served",
                {
                    "parked": f"sum(max by (site, reason) (calsync_mailboxes_parked)) or {NONE}",
                    "unavailable": "sum(max by (site) (calsync_mailboxes_unavailable))",
                },
                means="Parked: not tried, for example no licence or unknown user. Unavailable: not readable in three "
                "sweeps in a row. Alerts: CalsyncMailboxesParked, CalsyncMailboxesUnavailable when they rise.",
                act="`calsync mailbox list` names the parked ones, `calsync sweep` the unavailable ones. Correct the "
                "cause, then `calsync mailbox enable`.",
                unit="short",
                link="calsync-site",
                width=6,
            ),
            graph(
                "Dead letters and unusable input",
                {
                    "dead: {{reason}}": "sum by (reason) (increase(calsync_dead_letters_total[$__rate_interval]))",
                    "left out: {{kind}}": "sum by (kind) (increase(calsync_unusable_total[$__rate_interval]))",
                },
                means="Records that went to the dead-letter topic, and input from Core that was left out. Alert: "
                "CalsyncDeadLetters.",
                act="Each dead letter needs a person: `calsync dead-letters list`. The log names the unusable rows and "
                "workers. Have them corrected in Core.",
                unit="short",
                link="calsync-kafka",
                width=6,
            ),
        ],
    )


def _sites() -> Row:
    paused = words({0: ("no", "text"), 1: ("paused", "blue")})
    some = ticket_above(1)
    return Row(
        "Sites",
        [
            rows_by(
                "site",
                "Sites",
                [
                    SERVED,
                    Column("Paused", "max by (site) (calsync_site_paused)", mappings=paused),
                    Column("Last complete sweep", SWEEP_AGE, "s", pages("CalsyncSweepStale"), never()),
                    Column("Held deletions", "max by (site) (calsync_sweep_held_deletions)", steps=page_above(1)),
                    WAITING,
                    Column("Handed over", "max by (site) (calsync_assignments_dirty)", steps=some),
                    PARKED,
                    Column("Unavailable mailboxes", "max by (site) (calsync_mailboxes_unavailable)", steps=some),
                    SECRET_VALID,
                ],
                means="Every site of the sites file, as its replicas see it.",
                act="Click a site to see its history. A paused site pages nobody until `calsync site resume`.",
                url=SITE_URL,
            )
        ],
    )


def _replicas() -> Row:
    ours = "and on (job, instance) calsync_build_info"
    return Row(
        "Replicas",
        [
            graph(
                "Versions",
                {"{{version}}": "count by (version) (calsync_build_info)"},
                means="Replicas by version.",
                act="Two versions for a long time: a rollout is stuck.",
                unit="none",
                width=6,
                stacked=True,
            ),
            graph(
                "Starts within 15 minutes",
                {"{{instance}}": f"changes(process_start_time_seconds[15m]) {ours}"},
                means="How often each replica started again. Alert: CalsyncRestarting.",
                act="Look at the last lines of the log of the previous container, and at its memory.",
                unit="short",
                steps=tickets("CalsyncRestarting"),
                width=6,
            ),
            graph(
                "Memory",
                {"{{instance}}": f"process_resident_memory_bytes {ours}"},
                means="Memory of each replica.",
                act="If it rises without end, restart the replica and report the version.",
                unit="bytes",
                width=6,
            ),
            graph(
                "Processor",
                {"{{instance}}": f"rate(process_cpu_seconds_total[$__rate_interval]) {ours}"},
                means="Processor time used each second. One replica uses at most a little more than one core.",
                act="If all replicas stay near 1 and the oldest record gets older, add replicas.",
                unit="percentunit",
                width=6,
                highest=1,
            ),
        ],
    )
