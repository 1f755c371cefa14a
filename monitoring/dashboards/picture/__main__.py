"""`python -m monitoring.dashboards.picture PROMETHEUS_URL OUT.svg`: draws a dashboard from a Prometheus's answers."""

import argparse
import json
import sys
import time
from pathlib import Path

import httpx

from monitoring.dashboards.files import DASHBOARDS
from monitoring.dashboards.picture.answers import Answers, Span
from monitoring.dashboards.picture.drawing import drawing
from monitoring.dashboards.queries import values


def main() -> int:
    """Returns 1 if Prometheus does not answer."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.dashboards.picture", description=__doc__)
    parser.add_argument("prometheus", help="its URL, for example http://127.0.0.1:9090")
    parser.add_argument("out", type=Path, help="the file that is written")
    parser.add_argument("--dashboard", choices=list(DASHBOARDS), default="overview")
    parser.add_argument("--rows", type=int, help="draw only the first rows")
    parser.add_argument("--minutes", type=float, default=15, help="the time that is shown (default: 15)")
    parser.add_argument("--scrape-seconds", type=float, default=15, help="Prometheus's scrape interval (default: 15)")
    parser.add_argument("--site", default="", help="the site, for the dashboard of one site")
    parser.add_argument("--job", default=".+", help="the job, as a regular expression")
    options = parser.parse_args()

    end = time.time()
    span = Span(end - options.minutes * 60, end)
    variables = values(
        site=options.site,
        job=options.job,
        rate_interval=f"{max(4 * options.scrape_seconds, span.step + options.scrape_seconds):.0f}s",
        shown=f"{options.minutes * 60:.0f}s",
    )
    dashboard = json.loads(DASHBOARDS[options.dashboard]())
    try:
        with httpx.Client(base_url=options.prometheus, timeout=60, trust_env=False) as client:
            picture = drawing(dashboard, Answers(client, span, variables), options.rows)
    except (httpx.HTTPError, ValueError) as error:
        print(f"Prometheus at {options.prometheus}: {error}", file=sys.stderr)
        return 1
    options.out.write_text(picture, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
