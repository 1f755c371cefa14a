"""Microsoft Graph: what the service asks, what it gets, how long it takes."""

from monitoring.dashboards.limits import SECRET, pages, ticket_above, tickets
from monitoring.dashboards.parts import Row, board, graph, no_date, number, rows_by
from monitoring.dashboards.shared import (
    FAILED,
    NO_REQUESTS,
    PARKED,
    REQUESTS,
    SECRET_VALID,
    SERVED,
    SITE_URL,
    THROTTLED,
    WAITING,
    graph_answers,
    graph_fails,
    mailboxes_with_work,
    sites_down,
    throttled,
)


def quantile(share: float, by: str = "le") -> str:
    """The time within which this share of the exchanges ended."""
    return f"histogram_quantile({share}, sum by ({by}) (rate(calsync_graph_request_seconds_bucket[$__rate_interval])))"


def graph_api() -> str:
    """The JSON of the dashboard."""
    return board(
        "calsync-graph",
        "Microsoft Graph: what the service asks, what it gets, how long it takes, and which sites may not ask.",
        [_now(), _requests(), _trouble(), _tokens()],
    )


def _now() -> Row:
    return Row(
        "Now",
        [
            number(
                "Requests",
                REQUESTS,
                means="Requests to Graph each second, those inside batches too.",
                act="0 while there are records to do: look at Redis, at the sites and at the log.",
                unit="reqps",
            ),
            graph_fails(),
            number(
                "Throttled",
                f"{THROTTLED} / {REQUESTS}",
                means="Share of requests that Graph answers with 429. The service waits as long as Graph asks. Alert: "
                "CalsyncGraphThrottled.",
                act="If it stays high, look for another program that uses the same app registration.",
                unit="percentunit",
                steps=tickets("CalsyncGraphThrottled"),
                empty=NO_REQUESTS,
            ),
            number(
                "Without an answer",
                f'sum(rate(calsync_graph_requests_total{{status="none"}}[$__rate_interval])) / {REQUESTS}',
                means="Share of requests to which no answer came: time-outs and broken connections.",
                act="Look at the network, the proxy and its certificates.",
                unit="percentunit",
                steps=pages("CalsyncGraphUnavailable"),
                empty=NO_REQUESTS,
            ),
            number(
                "Duration",
                quantile(0.95),
                means="95 % of the HTTP exchanges take at most this long. A batch is one exchange.",
                act="Above a few seconds, Graph is slow: look at Microsoft's service health.",
                unit="s",
                empty=NO_REQUESTS,
            ),
            number(
                "Foreign answers",
                'sum(increase(calsync_foreign_answers_total{part=~"graph|entra"}[$__rate_interval]))',
                means="Answers to requests to Graph or Entra that came from a proxy. Alert: CalsyncForeignAnswers, "
                "if they go on.",
                act="The log names the host. Look at the proxy.",
                steps=ticket_above(1),
            ),
            sites_down("calsync-site"),
            number(
                "Next secret expires in",
                "min(calsync_client_secret_expiry_timestamp_seconds) - time()",
                means="Time until the first of the sites' client secrets expires. Alerts: CalsyncClientSecretExpiring, "
                "CalsyncClientSecretExpiresSoon, CalsyncClientSecretExpired.",
                act="The table below names the site. Create a new secret in Entra and put it into the sites file.",
                unit="s",
                steps=SECRET,
                mappings=no_date(),
            ),
        ],
    )


def _requests() -> Row:
    return Row(
        "Requests",
        [
            graph(
                "By operation",
                {"{{operation}}": "sum by (operation) (rate(calsync_graph_requests_total[$__rate_interval])) > 0"},
                means="Requests each second, by what they do.",
                act="Many creates and deletes without changes in Core: look at the repairs of the sites.",
                unit="reqps",
                stacked=True,
            ),
            graph_answers(),
            graph(
                "By replica",
                {"{{instance}}": "sum by (instance) (rate(calsync_graph_requests_total[$__rate_interval]))"},
                means="Requests each second, by replica.",
                act="A replica that asks nothing while others do: look at its log.",
                unit="reqps",
                stacked=True,
            ),
            graph(
                "Duration",
                {"99 %": quantile(0.99), "95 %": quantile(0.95), "50 %": quantile(0.5)},
                means="The time within which this share of the HTTP exchanges ends. A batch is one exchange.",
                act="Above a few seconds, Graph is slow: look at Microsoft's service health.",
                unit="s",
            ),
            graph(
                "Duration by operation, 95 %",
                {"{{operation}}": quantile(0.95, "le, operation")},
                means="95 % of the HTTP exchanges of each operation take at most this long.",
                act="One operation alone is slow: its mailboxes hold much. All: Graph is slow.",
                unit="s",
            ),
            graph(
                "Exchanges in flight",
                {"on average": "sum(rate(calsync_graph_request_seconds_sum[$__rate_interval]))"},
                means="HTTP exchanges with Graph that are under way at the same time, on average.",
                act="If it is at the service's limit all the time, the service is as fast as it can be.",
                unit="short",
            ),
        ],
    )


def _trouble() -> Row:
    return Row(
        "Trouble",
        [
            graph(
                "Fail",
                {"5xx or no answer": f"{FAILED} / {REQUESTS}"},
                means="Share of requests that got a 5xx answer or none. Alert: CalsyncGraphUnavailable.",
                act="Look at Microsoft's service health. The service tries again by itself.",
                unit="percentunit",
                steps=pages("CalsyncGraphUnavailable"),
            ),
            throttled(),
            graph(
                "Answers of 429",
                {"429": "sum(increase(calsync_graph_throttled_total[$__rate_interval]))"},
                means="How often Graph, or a proxy before it, answered with 429.",
                act="The service waits as long as Graph asks, at most an hour.",
                unit="short",
            ),
            graph(
                "Foreign answers",
                {"{{part}}": "sum by (part) (increase(calsync_foreign_answers_total[$__rate_interval]))"},
                means="Answers that did not come from the service that was asked, by that service. Alert: "
                "CalsyncForeignAnswers, if they go on.",
                act="The log names the host. Look at the proxy or the ingress.",
                unit="short",
                width=12,
            ),
            mailboxes_with_work(width=12),
        ],
    )


def _tokens() -> Row:
    return Row(
        "Access of the sites",
        [
            rows_by(
                "site",
                "Sites",
                [
                    SERVED,
                    SECRET_VALID,
                    PARKED,
                    WAITING,
                ],
                means="Whether Entra gives the service tokens for each site, and how long its client secret is valid.",
                act="A site is down: `calsync site list` names the reason and what the site's administrator must do.",
                url=SITE_URL,
            )
        ],
    )
