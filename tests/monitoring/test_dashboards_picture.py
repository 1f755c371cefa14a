"""The pictures of dashboards show what Prometheus answers."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs
from xml.etree import ElementTree

import httpx
import pytest

from monitoring.dashboards.files import DASHBOARDS
from monitoring.dashboards.picture import __main__ as command
from monitoring.dashboards.picture import svg
from monitoring.dashboards.picture.answers import Answers, Span
from monitoring.dashboards.picture.drawing import CAPTION, drawing
from monitoring.dashboards.picture.shown import shown, text_of, ticks
from monitoring.dashboards.queries import panels, values

SPAN: Final = Span(1_800_000_000, 1_800_000_900)
Answer = Callable[[str], list[dict[str, Any]]]
"""The series of a query, each with its labels and its values."""


def series(*points: tuple[float, float], **labels: str) -> dict[str, Any]:
    return {"metric": labels, "values": [[SPAN.start + at, str(value)] for at, value in points]}


def drawn(answer: Answer, name: str = "overview", rows: int | None = None) -> str:
    """The picture of a dashboard, as SVG."""

    def respond(request: httpx.Request) -> httpx.Response:
        [query] = parse_qs(request.content.decode())["query"]
        found = answer(query)
        if request.url.path == "/api/v1/query":
            found = [{"metric": each["metric"], "value": each["values"][-1]} for each in found]
        return httpx.Response(200, json={"status": "success", "data": {"result": found}})

    with httpx.Client(base_url="http://prometheus", transport=httpx.MockTransport(respond)) as client:
        answers = Answers(client, SPAN, values(site="acme"))
        return drawing(json.loads(DASHBOARDS[name]()), answers, rows)


def texts(picture: str) -> list[str]:
    """Every text of the picture. Raises ParseError if it is not XML."""
    return [text for text in (element.text for element in ElementTree.fromstring(picture).iter()) if text]


def ground_of(picture: str, title: str) -> str:
    """The colour of the tile with the title."""
    [before] = [line for line in picture.splitlines() if f">{title}</text>" in line]
    return before.split(">", 1)[0].split('fill="')[1].split('"')[0]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_without_data_every_panel_says_so(name: str) -> None:
    picture = drawn(lambda query: [], name)
    assert texts(picture).count("no data") == len(list(panels(json.loads(DASHBOARDS[name]()))))
    assert CAPTION in texts(picture)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_with_data_every_panel_shows_some(name: str) -> None:
    picture = drawn(lambda query: [series((0, 0), (450, 1), (900, 2), site="acme", instance="one:9464")], name)
    assert "no data" not in texts(picture)


def test_a_number_has_the_colour_of_its_value() -> None:
    def answer(query: str) -> list[dict[str, Any]]:
        return [series((0, 10), (900, 301 if "lag_seconds" in query else 119 if "heartbeat" in query else 0))]

    picture = drawn(answer, rows=1)
    assert ground_of(picture, "Oldest record") == svg.TILES["red"]
    assert ground_of(picture, "Feed age") == svg.TILES["green"]
    assert {"5 mins", "2 mins"} <= set(texts(picture))


def test_a_timestamp_that_is_zero_is_shown_as_a_text() -> None:
    picture = drawn(lambda query: [series((900, 1_800_000_900))] if "heartbeat" in query else [], rows=1)
    assert "never seen" in texts(picture)
    assert ground_of(picture, "Feed age") == svg.TILES["red"]


def test_a_number_that_ended_is_no_longer_shown() -> None:
    assert "50%" in texts(drawn(lambda query: [series((0, math.nan), (900, 0.5))], rows=1))
    ended = drawn(lambda query: [series((0, 0.5), (900, math.nan))], rows=1)
    assert {"no change", "no site", "no data"} <= set(texts(ended))
    assert "50%" not in texts(ended)


def test_the_table_has_a_row_for_each_site() -> None:
    def answer(query: str) -> list[dict[str, Any]]:
        if "site_up" in query and "parked" not in query:
            return [series((900, 1), site="acme"), series((900, 0), site="<b>bolt</b> & sons")]
        return []

    shown_texts = texts(drawn(answer))
    assert {"acme", "<b>bolt</b> & sons", "yes", "down", "–"} <= set(shown_texts)


def test_lines_have_a_gap_where_values_are_missing() -> None:
    every = [(float(at), 1.0) for at in range(0, 900, 5)]
    whole = drawn(lambda query: [series(*every)] if "lanes_busy" in query else [])
    holed = drawn(lambda query: [series(*every[:60], *every[120:])] if "lanes_busy" in query else [])
    assert holed.count("<path") == whole.count("<path") + 2  # one more line, with the ground below it


def test_stacked_lines_reach_their_sum() -> None:
    points = [(float(at), 3.0) for at in range(0, 901, 5)]
    answer = [series(*points, result="applied"), series(*points, result="stale")]
    picture = drawn(lambda query: answer if "events_total" in query else [])
    assert {"6 c/s", "0 c/s"} <= set(texts(picture))


def test_only_the_first_rows_are_drawn() -> None:
    shown_texts = texts(drawn(lambda query: [], rows=2))
    assert {"Does it work?", "What it needs"} <= set(shown_texts)
    assert "Changes" not in shown_texts


def test_light_and_dark_pages_have_colours_of_their_own() -> None:
    light, _, dark = svg.style().partition("@media (prefers-color-scheme:dark)")
    for name, (on_light, on_dark) in svg.COLOURS.items():
        assert f".f-{name}{{fill:{on_light}}}" in light
        assert f".f-{name}{{fill:{on_dark}}}" in dark


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "s", "0 s"), (0.0475, "s", "47.5 ms"), (12.34, "s", "12.3 s"), (60, "s", "1 mins"),
        (5400, "s", "1.5 hours"), (86400 * 3, "s", "3 days"), (86400 * 30, "s", "4.3 weeks"), (-90, "s", "-1.5 mins"),
        (math.inf, "s", "∞"), (0.5, "percentunit", "50%"), (0.99876, "percentunit", "99.9%"),
        (1, "percentunit", "100%"), (91e6, "bytes", "86.8 MiB"), (2.5, "cps", "2.5 c/s"),
        (0.0421, "reqps", "0.042 req/s"), (1234567, "short", "1.23 Mil"), (999, "short", "999"), (3, "none", "3"),
        (14.4, "short", "14.4"),
    ],
)  # fmt: skip
def test_values_have_units(value: float, unit: str, text: str) -> None:
    assert text_of(value, unit) == text


def test_decimals_are_those_of_the_panel() -> None:
    assert text_of(0.998765, "percentunit", 2) == "99.88%"
    assert text_of(1.0, "percentunit", 2) == "100%"


def test_a_value_without_steps_has_the_colour_of_text() -> None:
    assert shown(5, {"unit": "short"}) == ("5", "text")
    assert shown(math.nan, {}) == ("no data", "grey")


@pytest.mark.parametrize(
    ("highest", "unit", "whole", "expected"),
    [
        (1, "short", True, [0, 1]), (3, "none", True, [0, 1, 2, 3]), (0.9, "short", False, [0, 0.5, 1]),
        (310, "s", False, [0, 120, 240, 360]), (90e6, "bytes", False, [0, 2**25, 2**26, 3 * 2**25]),
        (14.4, "short", False, [0, 5, 10, 15]), (40, "cps", True, [0, 10, 20, 30, 40]),
    ],
)  # fmt: skip
def test_axes_have_round_marks(highest: float, unit: str, whole: bool, expected: list[float]) -> None:
    assert ticks(highest, unit, whole=whole) == pytest.approx(expected)


def test_a_text_is_cut_to_its_room() -> None:
    assert svg.cut("MailboxNotEnabledForRESTAPI", 11, 60) == "MailboxN…"
    assert svg.cut("short", 11, 60) == "short"


# The command


@pytest.fixture
def arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    out = tmp_path / "out.svg"
    monkeypatch.setattr("sys.argv", ["picture", "http://127.0.0.1:1", str(out), "--rows", "1"])
    return out


def test_command_fails_if_prometheus_does_not_answer(arguments: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main() == 1
    assert "http://127.0.0.1:1" in capsys.readouterr().err
    assert not arguments.exists()


def test_command_reports_a_query_that_prometheus_rejects(
    arguments: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = httpx.Response(400, json={"status": "error", "error": "parse error"})
    client = httpx.Client(base_url="http://prometheus", transport=httpx.MockTransport(lambda request: answer))
    monkeypatch.setattr(httpx, "Client", lambda **options: client)
    assert command.main() == 1
    assert "parse error" in capsys.readouterr().err
