"""Parts of pages that are written from the code, between two marks."""

import re
from pathlib import Path


def part(page: str, writer: str) -> str:
    """The part of the page that ``writer``, such as ``tests/architecture.py``, writes. Raises ``ValueError``."""
    found = re.search(f"{re.escape(_begin(writer))}(.*?){re.escape(_END)}", page, re.DOTALL)
    if found is None:
        raise ValueError(f"the page lacks the marks {_begin(writer).strip()} and {_END.strip()}")
    return found[1]


def write(path: Path, writer: str, text: str) -> None:
    """Replace the part of the page that ``writer`` writes."""
    page = path.read_text(encoding="utf-8")
    before = f"{_begin(writer)}{part(page, writer)}{_END}"
    path.write_text(page.replace(before, f"{_begin(writer)}{text}{_END}"), encoding="utf-8")


_END = "<!-- until here -->\n"


def _begin(writer: str) -> str:
    return f"<!-- written by {writer} -->\n"
