"""Plain words: what is written for readers avoids the patterns below. CONTRIBUTING.md says how to write."""

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PATTERNS: Final = {
    r"\bshall\b": "must, will",
    r"\b(?:is|was|are|were|be) told\b": "is reported, is logged, gets",
    r"\banew\b": "again",
    r"\bof late\b": "recently",
    r"\blest\b": "so that … not",
    r"\b(?:hence|thus)\b": "so, because",
    r"\b(?:whoever|whichever)\b": "everyone who, any that",
    r"\blet go of\b": "discard, drop, forget",
    r"\bbefalls?\b|\bmeets with\b": "happens to",
    r"\bin a way that is ours\b": "an unexpected error in …",
    r"\b(?:bury|buried)\b": "dead-letter, tombstone",
    r"\bremed(?:y|ies)\b": "hint",
    r"\bglimpses?\b|\bheirs?\b|\brehearsals?\b": "event summary, covered by, dry run",
    r"\bin vain\b": "without success",
    r"\b(?:is|are|was) away\b": "is unavailable",
}
"""What to avoid, and what to write instead. Words that have no good use here; style is for reviewers."""
EXEMPT: Final = {
    "consumer/cli/check_feed.py": {"remedy"},  # a key of its JSON
    "tests/unit/test_words.py": set(PATTERNS),
}
FOLDERS: Final = ("consumer", "sandbox", "schemas", "docs", "tests", "benchmarks", "monitoring", "helm")
KINDS: Final = {".py", ".md", ".lua", ".sql", ".yaml", ".yml", ".toml"}
PAGES: Final = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile", "pyproject.toml", "docker-compose.yml")


def files() -> list[Path]:
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in KINDS]
    return [*found, *(ROOT / name for name in PAGES)]


def test_the_patterns_are_looked_for_in_everything_that_people_read() -> None:
    assert len(files()) > 400


@pytest.mark.parametrize("pattern", PATTERNS)
def test_nothing_is_written_in_words_that_readers_stumble_over(pattern: str) -> None:
    found = []
    for path in files():
        name = path.relative_to(ROOT).as_posix()
        exempt = EXEMPT.get(name, set())
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(pattern, text, re.IGNORECASE):
            if match[0] not in exempt and pattern not in exempt:
                line = text.count("\n", 0, match.start()) + 1
                found.append(f"{name}:{line}: {match[0]!r}: write {PATTERNS[pattern]}")
    assert found == [], "\n".join(found)
