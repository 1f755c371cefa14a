"""What the documents say is true."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from consumer.cli import cli
from consumer.ops.metrics import Metrics
from consumer.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_readme_names_every_setting_with_its_default() -> None:
    table = dict(re.findall(r"^\| `(CALSYNC_\w+)` \| (.+?) \|", README, re.MULTILINE))
    expected = {}
    for name, field in Settings.model_fields.items():
        default = "required" if field.is_required() else "none" if field.default is None else f"`{field.default}`"
        expected[PREFIX + name.upper()] = default
    for name in ("CALSYNC_CORE_API_TOKEN", "CALSYNC_CORE_API_TOKEN_FILE"):
        expected[name] = "one of the two"
    assert table == expected


def test_the_readme_names_every_metric_and_no_other() -> None:
    exposed = set(re.findall(r"^# TYPE (calsync_\w+)", Metrics().render().decode(), re.MULTILINE))
    rows = re.findall(r"^\| (`calsync_.+?) \|", README, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(calsync_\w+)", row)}
    assert named == {name for name in exposed if not name.endswith("_created")}


def test_the_readme_names_every_command_with_its_options() -> None:
    expected = {}
    for name, command in getattr(get_command(cli), "commands", {}).items():
        within = getattr(command, "commands", {})
        for full, each in {f"{name} {inner}": part for inner, part in within.items()}.items() or [(name, command)]:
            options = {option for parameter in each.params for option in parameter.opts if option.startswith("--")}
            expected[full] = options - {"--help"}
    rows = re.findall(r"^\| `calsync ([a-z]+(?:-[a-z]+)*(?: [a-z]+)?)(.*?)` \|", README, re.MULTILINE)
    assert {name: set(re.findall(r"--[a-z-]+", options)) for name, options in rows} == expected


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
        assert "://" in target or (document.parent / target).exists(), target


def test_every_make_target_that_the_readme_names_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake ([a-z][a-z0-9]*)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
