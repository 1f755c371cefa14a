"""Everything that the documents for contributors name exists: files, make targets, decisions, cited facts."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GUIDES = [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
CITATION = re.compile(r"docs/facts/([\w-]+\.md)((?:,? (?:and |to |parts? )?\d[\d.]*\b)*)")


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_link_of_a_guide_leads_somewhere(guide: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", guide.read_text(encoding="utf-8")):
        assert "://" in target or (ROOT / target).exists(), target


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_file_that_a_guide_names_exists(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    for name in re.findall(r"\b(?:tests|consumer|sandbox|docs|requirements|benchmarks)/[\w./-]*\w", text):
        assert (ROOT / name).exists(), name


def test_every_make_target_that_contributing_names_exists() -> None:
    text = GUIDES[0].read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`|needs what )make ([a-z][a-z0-9-]*)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


def test_the_hooks_run_the_commands_of_make_lint() -> None:
    recipe = MAKEFILE.split("\nlint:", 1)[1].split("\n\n", 1)[0]
    of_lint = {line.removeprefix("\t@$(BIN)/") for line in recipe.splitlines()[1:]}
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    entries = {hook["entry"].removeprefix(".venv/bin/").removesuffix(" --force-exclude") for hook in hooks}
    assert entries == of_lint


def test_every_decision_is_listed() -> None:
    listed = re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs" / "adr").glob("[0-9]*.md"))


def test_every_cited_fact_has_its_section() -> None:
    cited = set(_citations())
    assert cited
    for name, number in cited:
        file = ROOT / "docs" / "facts" / name
        assert file.exists(), name
        assert re.search(rf"^##+ {re.escape(number)}\.? ", file.read_text(encoding="utf-8"), re.MULTILINE), (
            name,
            number,
        )


def _citations() -> Iterator[tuple[str, str]]:
    """Each file of docs/facts and section that code names: "docs/facts/graph.md 1.4, part 3"."""
    for folder in ("consumer", "sandbox", "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            if path != Path(__file__).resolve():
                for name, numbers in CITATION.findall(text):
                    for number in re.findall(r"\d+(?:\.\d+)?", numbers):
                        yield name, number
