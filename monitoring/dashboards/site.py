"""One site: is it served, is it swept, what did its sweeps find, and what waits?"""

from monitoring.dashboards.limits import SECRET, page_above, page_below, pages, ticket_above
from monitoring.dashboards.parts import Row, board, graph, never, no_date, number, one, words
from monitoring.dashboards.shared import NONE


def site() -> str:
    """The JSON of the dashboard."""
    return board(
        "calsync-site",
        "One site: is it served, is it swept, what did its sweeps find, and what waits?",
        [_now(), _sweeps(), _mailboxes()],
        [one("site", 'label_values(calsync_site_up{job=~"$job"}, site)')],
    )


def _now() -> Row:
    return Row(
        "Now",
        [
            number(
                "Served",
                'min(calsync_site_up{site="$site"})',
                means="Whether the site is served. It is suspended while Entra or Graph rejects its credentials or "
                "access. Alert: CalsyncSiteDown.",
                act="Run `calsync site list`. It names the reason and what the site's administrator must do.",
                steps=page_below(1),
                mappings=words({0: ("down", "red"), 1: ("yes", "green")}),
            ),
            number(
                "Paused",
                'max(calsync_site_paused{site="$site"})',
                means="Whether an operator has paused the site. A paused site pages nobody.",
                act="`calsync site resume` when the reason is gone.",
                mappings=words({0: ("no", "green"), 1: ("paused", "blue")}),
            ),
            number(
                "Last complete sweep",
                'time() - max(calsync_sweep_last_success_timestamp_seconds{site="$site"})',
                means="Time since a sweep compared every mailbox of the site with Core. Alert: CalsyncSweepStale.",
                act="Look for “sweep failed” in the log. If Core is down or deletions are held, repair that first.",
                unit="s",
                steps=pages("CalsyncSweepStale"),
                mappings=never(),
            ),
            number(
                "Held deletions",
                'max(calsync_sweep_held_deletions{site="$site"})',
                means="Deletions that the fuse holds back: more jobs vanished at once than is plausible. Alert: "
                "CalsyncDeletionsHeld.",
                act="Ask Core's team whether the jobs were really deleted. Only then allow the deletions with "
                "`calsync sweep --allow-mass-delete`.",
                steps=page_above(1),
            ),
            number(
                "Waiting mailboxes",
                'sum(calsync_site_waiting{site="$site"})',
                means="Mailboxes of the site with work that waits, over all replicas.",
                act="If it stays high, look at throttling on the Graph dashboard.",
                link="calsync-graph",
            ),
            number(
                "Handed over",
                'max(calsync_assignments_dirty{site="$site"})',
                means="Assignments whose work was left to the next sweep. Alert: CalsyncWorkHandedOver after 30 "
                "minutes.",
                act="If it stays above 0, look for a parked mailbox, or for held deletions.",
                steps=ticket_above(1),
            ),
            number(
                "Mailboxes not served",
                f'(sum(max by (reason) (calsync_mailboxes_parked{{site="$site"}})) or {NONE}) '
                '+ max(calsync_mailboxes_unavailable{site="$site"})',
                means="Parked and unavailable mailboxes. Alerts: CalsyncMailboxesParked, CalsyncMailboxesUnavailable "
                "when they rise.",
                act="`calsync mailbox list` names the parked ones, `calsync sweep` the unavailable ones.",
                steps=ticket_above(1),
            ),
            number(
                "Secret valid for",
                'min(calsync_client_secret_expiry_timestamp_seconds{site="$site"}) - time()',
                means="Time until the client secret expires, as the sites file says. Alerts: "
                "CalsyncClientSecretExpiring, CalsyncClientSecretExpiresSoon, CalsyncClientSecretExpired.",
                act="Create a new secret in Entra, put it into the sites file, then delete the old one.",
                unit="s",
                steps=SECRET,
                mappings=no_date(),
            ),
        ],
    )


def _sweeps() -> Row:
    seconds = 'sum by (le) (rate(calsync_sweep_seconds_bucket{site="$site"}[$__rate_interval]))'
    return Row(
        "Sweeps",
        [
            graph(
                "Age of the last complete sweep",
                {"age": 'time() - max(calsync_sweep_last_success_timestamp_seconds{site="$site"})'},
                means="It falls to 0 with each complete sweep. Alert: CalsyncSweepStale.",
                act="If it rises in a straight line, no sweep is complete: look for “sweep failed” in the log.",
                unit="s",
                steps=pages("CalsyncSweepStale"),
            ),
            graph(
                "Duration of sweeps",
                {
                    "95 %": f"histogram_quantile(0.95, {seconds})",
                    "50 %": f"histogram_quantile(0.5, {seconds})",
                },
                means="How long sweeps of the site take.",
                act="If it comes near the sweep interval, look at throttling on the Graph dashboard.",
                unit="s",
                link="calsync-graph",
            ),
            graph(
                "Repairs",
                {
                    "{{cause}}": "sum by (cause) "
                    '(increase(calsync_sweep_repairs_total{site="$site",cause!="entered"}[$__rate_interval]))',
                },
                means="Events that sweeps put right, by cause. docs/metrics.md explains the causes. Jobs that have "
                "just come into the window are left out, because they are normal.",
                act="Many edited or deleted: people change the events in Outlook. Many missed: changes do not "
                "arrive, look at the feed. Many copied: another program writes to the calendars.",
                unit="short",
                stacked=True,
            ),
        ],
    )


def _mailboxes() -> Row:
    return Row(
        "Mailboxes and jobs",
        [
            graph(
                "Parked mailboxes",
                {
                    "all": f'sum(max by (reason) (calsync_mailboxes_parked{{site="$site"}})) or {NONE}',
                    "{{reason}}": 'max by (reason) (calsync_mailboxes_parked{site="$site"})',
                },
                means="Mailboxes that are not tried, by the code of the reason.",
                act="`calsync mailbox list` names them. Correct the cause, then `calsync mailbox enable`.",
                unit="short",
                width=6,
            ),
            graph(
                "Unavailable mailboxes",
                {"unavailable": 'max(calsync_mailboxes_unavailable{site="$site"})'},
                means="Mailboxes that could not be read in three sweeps in a row, while others of the site could.",
                act="`calsync sweep` names them. Nothing is deleted in them.",
                unit="short",
                width=6,
            ),
            graph(
                "Waiting and handed over",
                {
                    "waiting mailboxes": 'sum(calsync_site_waiting{site="$site"})',
                    "handed over": 'max(calsync_assignments_dirty{site="$site"})',
                },
                means="Mailboxes with work that waits, and assignments whose work was left to the next sweep.",
                act="If they stay above 0, look for a parked mailbox, a suspended site, held deletions or throttling.",
                unit="short",
                width=6,
            ),
            graph(
                "Held deletions",
                {"held": 'max(calsync_sweep_held_deletions{site="$site"})'},
                means="Deletions that the fuse holds back.",
                act="Ask Core's team whether the jobs were really deleted.",
                unit="short",
                width=6,
            ),
        ],
    )
