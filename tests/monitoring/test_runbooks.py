"""The runbooks: one for each alert, with the same sections, with queries and commands that exist."""

import re
import shlex
from pathlib import Path
from typing import Any, Final

import pytest
from promql_parser import parse

from consumer.cli import entry
from tests.monitoring.metric_names import is_known
from tests.monitoring.rules_file import ROOT, RUNBOOKS, blocks, rules, series

PAGES: Final = sorted(RUNBOOKS.glob("*.md"))
SECTIONS: Final = ["Meaning", "Impact", "Diagnosis", "Mitigation", "How it clears"]
RECORDED: Final = {rule.name for rule in rules() if not rule.alerts}
ALERTS: Final = {rule.name: rule for rule in rules() if rule.alerts}
SEVERITIES: Final = {"page": "Page:", "ticket": "Ticket:", "none": "No severity:"}
EVERYWHERE: Final = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "consumer").rglob("*.py")))

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)


def test_each_alert_has_its_page_and_each_page_its_alert() -> None:
    assert [page.stem for page in PAGES] == sorted(ALERTS)


@each_page
def test_page_has_its_title_severity_and_sections(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^# (.+)$", text, re.MULTILINE)[0] == page.stem
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert text.split("\n\n")[1].startswith(SEVERITIES[ALERTS[page.stem].labels["severity"]])
    for section in re.split(r"^## .+$", text, flags=re.MULTILINE)[1:]:
        assert section.strip()


@each_page
def test_diagnosis_begins_with_a_command_or_a_query_and_has_a_query(page: Path) -> None:
    diagnosis = page.read_text(encoding="utf-8").split("## Diagnosis\n\n")[1].split("\n## ")[0]
    assert diagnosis.startswith("1. ")
    assert re.search(r"^```(?:sh|promql)$", diagnosis.partition("\n2. ")[0], re.MULTILINE)
    assert list(blocks(diagnosis, "promql"))


@each_page
def test_every_query_is_promql_over_series_that_exist(page: Path) -> None:
    for query in blocks(page.read_text(encoding="utf-8"), "promql"):
        parse(query)
        assert [name for name in series(query) if not is_known(name, RECORDED)] == []


@each_page
def test_every_command_exists_with_its_options(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for line in (*re.findall(r"`(calsync [^`]*)`", text), *re.findall(r"^(calsync .*)$", text, re.MULTILINE)):
        _parse_command(shlex.split(line)[1:])


def _parse_command(words: list[str]) -> None:
    """Parses as the command line does, without running anything. Raises click's errors."""
    command: Any = entry.load(words[0])
    rest = words[1:]
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(command.name, rest)


def test_a_command_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(KeyError):
        _parse_command(["site", "check"])
    with pytest.raises(Exception, match="--force"):
        _parse_command(["sweep", "--force"])


@each_page
def test_every_log_event_that_a_page_quotes_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for event in (*re.findall(r"`\"([^\"`]+)\"`", text), *re.findall(r"\| grep '([^']+)'", text)):
        assert f'"{event}' in EVERYWHERE, event


@each_page
def test_every_other_alert_setting_and_dashboard_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"\bCalsync[A-Z]\w+", text)) <= set(ALERTS)
    settings = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in settings for name in re.findall(r"\bCALSYNC_\w+", text))
