"""The documents agree with the code."""

import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from consumer.cli import entry
from consumer.ops.metric_catalogue import METRICS as CATALOGUE
from consumer.ops.metrics import Metrics
from consumer.settings import PREFIX, Settings
from tests import architecture, log_events, marked, metrics_page

ROOT = Path(__file__).resolve().parents[2]
README, SETTINGS, COMMANDS, METRICS, INDEX, OPERATIONS = (
    (ROOT / name).read_text(encoding="utf-8")
    for name in (
        "README.md",
        "docs/settings.md",
        "docs/commands.md",
        "docs/metrics.md",
        "docs/index.md",
        "docs/operations.md",
    )
)
RUNBOOKS = ROOT / "consumer" / "ops" / "runbooks"
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_settings_page_names_every_setting_once_with_its_default() -> None:
    rows = re.findall(r"^\| `(CALSYNC_\w+)` \| (.+?) \|", SETTINGS, re.MULTILINE)
    expected = {}
    for name, field in Settings.model_fields.items():
        default = "required" if field.is_required() else "none" if field.default is None else f"`{field.default}`"
        expected[PREFIX + name.upper()] = default
    for name in ("CALSYNC_CORE_API_TOKEN", "CALSYNC_CORE_API_TOKEN_FILE"):
        expected[name] = "one of the two"
    assert sorted(rows) == sorted(expected.items())


def test_readme_names_only_settings_that_exist() -> None:
    assert set(re.findall(r"CALSYNC_\w+", README)) <= {PREFIX + name.upper() for name in Settings.model_fields}


def test_metrics_page_is_the_catalogues() -> None:
    assert marked.part(METRICS, metrics_page.WRITER) == metrics_page.tables(), "run make docs"


def test_the_catalogue_has_every_metric_and_no_other() -> None:
    exposed = re.findall(r"^# TYPE (calsync_\S+)", Metrics().render().decode(), re.MULTILINE)
    assert sorted(exposed) == sorted(metric.name for metric in CATALOGUE)


def test_commands_page_names_every_command_once_with_its_options() -> None:
    expected = {}
    for name in entry.COMMANDS:
        command = entry.load(name)
        within = getattr(command, "commands", {})
        for full, each in {f"{name} {inner}": part for inner, part in within.items()}.items() or [(name, command)]:
            options = {option for parameter in each.params for option in parameter.opts if option.startswith("--")}
            expected[full] = options - {"--help"}
    rows = re.findall(r"^\| `calsync ([a-z]+(?:-[a-z]+)*(?: [a-z]+)?)(.*?)` \|", COMMANDS, re.MULTILINE)
    assert {name: set(re.findall(r"--[a-z-]+", options)) for name, options in rows} == expected
    assert len(rows) == len(expected)


@pytest.mark.parametrize(
    "line", sorted(set(re.findall(r"(?:`|^ *|-- )(calsync [a-z][^`\n]*)", OPERATIONS, re.MULTILINE)))
)
def test_every_command_of_the_operations_page_exists_with_its_options(line: str) -> None:
    first, *words = shlex.split(line)[1:]
    command: Any = entry.load(first)
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, words)  # raises click's errors, and runs nothing


def test_operations_page_names_only_settings_and_metrics_that_exist() -> None:
    assert set(re.findall(r"CALSYNC_\w+", OPERATIONS)) <= {PREFIX + name.upper() for name in Settings.model_fields}
    metrics = {metric.name for metric in CATALOGUE}
    assert {name.removesuffix("_url") for name in re.findall(r"\bcalsync_\w+", OPERATIONS)} - {"calsync"} <= metrics


def test_operations_page_lists_every_alert_once_with_a_link_to_its_runbook() -> None:
    alerts = sorted(page.stem for page in RUNBOOKS.glob("*.md"))
    assert sorted(re.findall(r"^\| (?:page|ticket|none) \| \[(Calsync\w+)\] \|", OPERATIONS, re.MULTILINE)) == alerts
    links = re.findall(r"^\[(Calsync\w+)\]: \.\./consumer/ops/runbooks/(\w+)\.md$", OPERATIONS, re.MULTILINE)
    assert sorted(links) == [(alert, alert) for alert in alerts]


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_the_commands_in_the_help_have_the_summaries_of_their_files(name: str) -> None:
    assert entry.load(name).help == entry.COMMANDS[name]


def test_index_lists_every_page_once() -> None:
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    listed = Counter(re.findall(r"^- \[.+?\]\(([\w-]+\.md)\)", INDEX, re.MULTILINE))
    assert listed == Counter(pages)


def _anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_heading_leads_somewhere(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", document.read_text(encoding="utf-8")):
        page = document.parent / target if target else document
        assert anchor in _anchors(page), f"{target}#{anchor}"


def test_the_picture_of_the_parts_shows_the_imports_as_they_are() -> None:
    """``python -m tests.architecture`` draws the picture again."""
    assert marked.part(architecture.PAGE.read_text(encoding="utf-8"), architecture.WRITER) == architecture.picture()


def test_every_file_that_the_architecture_names_exists() -> None:
    page = architecture.PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:\w+/)+\w+\.py|\w+\.py)`", page))
    assert len(named) > 20
    assert {name for name in named if not (ROOT / "consumer" / name).is_file()} == set()


def test_every_term_of_the_code_in_the_glossary_exists() -> None:
    page = architecture.PAGE.read_text(encoding="utf-8").partition("## Terms")[2]
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "consumer").rglob("*.py"))
    named = re.findall(r"^\|[^|]+\|[^|]+\|[^|]*`([A-Za-z_.]+)`[^|]*\|$", page, re.MULTILINE)
    assert len(named) > 25
    for name in named:
        for word in name.split("."):
            assert re.search(rf"\b{word}\b", code), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
        assert "://" in target or (document.parent / target).exists(), target


def test_every_make_target_that_the_readme_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake ([a-z][a-z0-9-]*)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_page_of_logs_names_every_event_once_and_no_other() -> None:
    page = (ROOT / "docs/logs.md").read_text(encoding="utf-8").partition("\n## Events\n")[2]
    first_cells = re.findall(r"^\| (`.+?`) \|", page, re.MULTILINE)
    named = Counter(event for cell in first_cells for event in re.findall(r"`([^`]+)`", cell))
    assert named == Counter(list(log_events.events()))
