"""The rules file, and what the tests need to know of it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from promql_parser import VectorSelector, parse, walk

ROOT: Final = Path(__file__).resolve().parents[2]
RULES: Final = ROOT / "helm" / "core-calendar-sync" / "files" / "rules.yaml"
RUNBOOKS: Final = ROOT / "consumer" / "ops" / "runbooks"
UNIT_TESTS: Final = Path(__file__).with_name("rules")


@dataclass(frozen=True)
class Rule:
    """A recording or an alerting rule."""

    name: str
    group: str
    alerts: bool
    expr: str
    for_: str | None
    labels: dict[str, str]
    annotations: dict[str, str]


@cache
def read(file: Path) -> dict[str, Any]:
    """A YAML file, parsed once."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loaded: dict[str, Any] = yaml.load(file.read_text(encoding="utf-8"), loader)
    return loaded


def document() -> dict[str, Any]:
    """The rules file, parsed."""
    return read(RULES)


def rules() -> list[Rule]:
    """Every rule of the file, in its order."""
    return [
        Rule(
            name=rule.get("alert") or rule["record"],
            group=group["name"],
            alerts="alert" in rule,
            expr=rule["expr"],
            for_=rule.get("for"),
            labels=rule.get("labels", {}),
            annotations=rule.get("annotations", {}),
        )
        for group in document()["groups"]
        for rule in group["rules"]
    ]


def series(expr: str) -> set[str]:
    """The names of all series that an expression reads. Raises ValueError if it is not PromQL."""
    found: set[str] = set()

    def visit(node: Any) -> bool:
        if isinstance(node, VectorSelector):
            found.add(node.name or "")
        return True

    walk(parse(expr), visit)
    return found


def needed(names: set[str], all_rules: list[Rule]) -> set[str]:
    """These rules, and the recording rules that they read, directly or through others."""
    by_name = {rule.name: rule for rule in all_rules}
    reached: set[str] = set()
    waiting = [name for name in names if name in by_name]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(each for each in series(by_name[name].expr) if each in by_name)
    return reached


def seconds(duration: str) -> int:
    """``1h30m`` as seconds."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([smhd])", duration))


def blocks(page: str, language: str) -> Iterator[str]:
    """The fenced code blocks of a Markdown page in this language."""
    for fence in re.finditer(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        yield fence[1]
