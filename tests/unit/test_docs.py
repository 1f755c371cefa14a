"""What the documents say is true."""

import re
from pathlib import Path

import pytest

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


def test_the_readme_names_every_metric() -> None:
    names = set(re.findall(r"^# TYPE (calsync_\w+)", Metrics().render().decode(), re.MULTILINE))
    missing = {name for name in names if name not in README and not name.endswith("_created")}
    assert missing == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
        assert "://" in target or (document.parent / target).exists(), target


def test_every_make_target_that_the_readme_names_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake ([a-z][a-z0-9]*)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
