"""Changes one thing at a time in the rules, and checks that a promtool test notices it: ``make alert-mutants``.

For every alert and recording rule: each number a little up and down, each comparison, each clause and label matcher
dropped, each alternative of a matcher dropped, each ``for``, range and offset shorter and longer, ``max`` and ``min``
exchanged. Only the tests of that rule are run, on a file with only the rules that they need.

Exit codes: 0 every change was noticed; 1 a change was not noticed; 2 promtool is missing, or the rules as they are fail
their tests.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import yaml
from promql_parser import parse

from tests.monitoring.conftest import tool
from tests.monitoring.rules_file import UNIT_TESTS, Rule, document, needed, read, rules, seconds

SEED: Final = 11
TIMEOUT_SECONDS: Final = 120.0
AT_ONCE: Final = 3
"""How many tests of a file one run of promtool gets, if a rule is changed: most changes fail one of the first tests."""
ENVIRONMENT: Final = {**os.environ, "GOGC": "400"}
"""Of promtool, whose garbage collector takes a quarter of the processor time otherwise."""
UNNOTICEABLE: Final = {
    ("CalsyncWatchdog", "number 1 -> 0"): "an alert fires whatever its value is",
    ("CalsyncWatchdog", "number 1 -> 2"): "an alert fires whatever its value is",
    ("CalsyncFeedDead", "name max -> min (no. 2)"): "-Inf, whatever is subtracted from",
    ("site:calsync_mailboxes_parked:sum", "name max -> min (no. 2)"): "0, whatever it is multiplied with",
    ("site:calsync_sweep_age_seconds:min", "name max -> min (no. 2)"): "-Inf, whatever is subtracted from",
    **{
        (f"{name}:last10m", "name max -> min"): "ALERTS is always 1"
        for name in (
            "service:calsync_outage",
            "service:calsync_sweep_outage",
            "service:calsync_late_changes_known",
            "site:calsync_sweep_outage",
            "site:calsync_late_sweeps_known",
        )
    },
}
"""Changes that alter nothing that a test could see, each with the reason."""

_TOKEN: Final = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*")|(?P<duration>\b(?:\d+[smhd])+\b)|(?P<name>[A-Za-z_:][\w:]*)"""
    r"""|(?P<number>\d+(?:\.\d+)?)|(?P<op>==|!=|=~|!~|>=|<=|[><])|(?P<space>\s+)|(?P<other>.)"""
)
_COMPARISONS: Final = {">": (">=", "<"), "<": ("<=", ">"), ">=": (">", "<"), "<=": ("<", ">"), "==": ("!=",)}
_SET_OPERATORS: Final = ("and", "or", "unless")


@dataclass(frozen=True)
class Mutant:
    """One change of one rule."""

    rule: Rule
    what: str
    expr: str
    for_: str | None


@dataclass(frozen=True)
class Token:
    """A piece of an expression."""

    kind: str
    text: str
    depth: int
    """How many parentheses, braces and brackets are open around it."""


def tokens(expr: str) -> list[Token]:
    """The pieces of an expression; joined they are the expression."""
    found, depth = [], 0
    for match in _TOKEN.finditer(expr):
        text = match[0]
        depth -= text in ")]}"
        found.append(Token(str(match.lastgroup), text, depth))
        depth += text in "([{"
    return found


def mutants_of(rule: Rule) -> Iterator[Mutant]:
    """Every change of a rule."""
    pieces = tokens(rule.expr)
    for what, expr in (*_of_tokens(pieces), *_without_clauses(pieces), *_without_matchers(rule.expr)):
        parse(expr)
        yield Mutant(rule, what, expr, rule.for_)
    if rule.for_ is not None:
        length = seconds(rule.for_)
        for changed in (length * 2 // 3, length * 3 // 2):
            yield Mutant(rule, f"for {rule.for_} -> {changed}s", rule.expr, f"{changed}s")


def _of_tokens(pieces: Sequence[Token]) -> Iterator[tuple[str, str]]:
    for index, piece in enumerate(pieces):
        before = sum(other.text == piece.text for other in pieces[:index])
        which = f" (no. {before + 1})" if before else ""
        for changed in _changes(piece):
            expr = "".join([*(each.text for each in pieces[:index]), changed, *(p.text for p in pieces[index + 1 :])])
            yield f"{piece.kind} {piece.text} -> {changed}{which}", expr


def _changes(piece: Token) -> list[str]:
    if piece.kind == "number":
        value = Decimal(piece.text)
        step = value / 10 if 0 < value < 1 else Decimal(1).scaleb(int(value.as_tuple().exponent))
        return [str(value - step), str(value + step)]
    if piece.kind == "duration":
        return [f"{seconds(piece.text) // 2}s", f"{seconds(piece.text) * 2}s"]
    if piece.kind == "op":
        return list(_COMPARISONS.get(piece.text, ()))
    return {"max": ["min"], "min": ["max"]}.get(piece.text, []) if piece.kind == "name" else []


def _without_clauses(pieces: Sequence[Token]) -> Iterator[tuple[str, str]]:
    """The expression without the operand on the right, or on the left, of each ``and``, ``or`` and ``unless``."""
    for index, piece in enumerate(pieces):
        if piece.kind != "name" or piece.text not in _SET_OPERATORS:
            continue
        ends = ("or",) if piece.text == "or" else _SET_OPERATORS
        right = _reach(pieces, index, +1, ends)
        text = " ".join("".join(each.text for each in pieces[index:right]).split())
        yield f"without: {text}", "".join(each.text for each in (*pieces[:index], *pieces[right:]))
        left = _reach(pieces, index, -1, ends)
        first = left < 0 or pieces[left].text not in _SET_OPERATORS or piece.text == "or"
        if piece.text != "unless" and first:
            after = _after_modifier(pieces, index)
            text = " ".join("".join(each.text for each in pieces[left + 1 : index]).split())
            kept = (*pieces[: left + 1], Token("space", " ", 0), *pieces[after:])
            yield f"without: {text} {piece.text}", "".join(each.text for each in kept)


def _reach(pieces: Sequence[Token], index: int, step: int, ends: Sequence[str]) -> int:
    """Where the operand ends that begins beside the operator: the next operator of its level, or its parenthesis."""
    depth = pieces[index].depth
    at = index + step
    while 0 <= at < len(pieces):
        each = pieces[at]
        if each.depth < depth or (each.depth == depth and each.kind == "name" and each.text in ends):
            break
        at += step
    return at


def _after_modifier(pieces: Sequence[Token], index: int) -> int:
    """The index after an operator and its ``on (…)``."""
    rest = "".join(each.text for each in pieces[index + 1 :])
    modifier = re.match(r"\s*(?:on|ignoring)\s*\([^)]*\)", rest)
    at, length = index + 1, modifier.end() if modifier else 0
    while length > 0:
        length -= len(pieces[at].text)
        at += 1
    return at


def _without_matchers(expr: str) -> Iterator[tuple[str, str]]:
    for braces in re.finditer(r'\{((?:[^{}"]|"(?:[^"\\]|\\.)*")*)\}', expr):
        matchers = re.findall(r'\w+\s*(?:=~|!~|!=|=)\s*"(?:[^"\\]|\\.)*"', braces[1])
        for matcher in matchers:
            rest = ", ".join(each for each in matchers if each != matcher)
            yield f"without {matcher}", f"{expr[: braces.start(1)]}{rest}{expr[braces.end(1) :]}"
            found = re.search(r'(?:"|\()([^"()]*\|[^"()]*)(?:"|\))', matcher)
            options = found[1].split("|") if found else []
            for option in options:
                fewer = matcher.replace("|".join(options), "|".join(other for other in options if other != option))
                changed = expr[: braces.start(1)] + braces[1].replace(matcher, fewer) + expr[braces.end(1) :]
                yield f"without {option} in {matcher}", changed


class Bench:
    """Runs promtool's tests of one rule on a changed rules file."""

    def __init__(self, promtool: Path) -> None:
        self._promtool = promtool
        self._rules = rules()
        self._document = document()
        self._tests = {path.stem: read(path) for path in sorted(UNIT_TESTS.glob("*.yaml"))}
        self.said = ""
        """The output of promtool's last run."""
        self._names = {stem: self._named(tests) for stem, tests in self._tests.items()}

    def _named(self, tests: dict[str, Any]) -> set[str]:
        """The rules whose result the tests of a file check. (Scenarios check everything, and belong to no rule.)"""
        found = set()
        for test in tests["tests"]:
            found |= {check["alertname"] for check in test.get("alert_rule_test", ())}
            for check in test.get("promql_expr_test", ()):
                if "ALERTS{" in check["expr"]:
                    return set()
                found |= {rule.name for rule in self._rules if re.search(rf"(?<![\w:]){rule.name}\b", check["expr"])}
        return found

    def noticed(self, mutant: Mutant | None, rule: Rule) -> bool:
        """Whether a test of the rule fails: first of those that check it, then of those that depend on it."""
        direct = [stem for stem, names in self._names.items() if rule.name in names]
        others = [
            stem
            for stem, names in self._names.items()
            if stem not in direct and rule.name in needed(names, self._rules)
        ]
        return any(self.fails(stem, mutant) for stem in (*direct, *(others if mutant else ())))

    def has_tests(self, rule: Rule) -> bool:
        """Whether a test checks this rule's own result."""
        return any(rule.name in names for names in self._names.values())

    def fails(self, stem: str, mutant: Mutant | None) -> bool:
        """Whether a test of a file fails."""
        groups = self._groups(self._names[stem], mutant)
        tests = self._tests[stem]["tests"]
        some = AT_ONCE if mutant else len(tests)
        return any(self._run(stem, tests[at : at + some], groups) for at in range(0, len(tests), some))

    def _groups(self, names: set[str], mutant: Mutant | None) -> list[dict[str, Any]]:
        """The groups with only these rules and those that they read; all rules if there are no names."""
        wanted = needed(names, self._rules) if names else {rule.name for rule in self._rules}
        groups = []
        for group in self._document["groups"]:
            kept = [dict(rule) for rule in group["rules"] if (rule.get("alert") or rule["record"]) in wanted]
            for rule in kept:
                if mutant is not None and (rule.get("alert") or rule["record"]) == mutant.rule.name:
                    rule["expr"] = mutant.expr
                    if mutant.for_ is not None:
                        rule["for"] = mutant.for_
            if kept:
                groups.append({**group, "rules": kept})
        return groups

    def _run(self, stem: str, some: list[Any], groups: list[dict[str, Any]]) -> bool:
        tests = {
            **self._tests[stem],
            "rule_files": ["rules.yaml"],
            "group_eval_order": [group["name"] for group in groups],
            "tests": some,
        }
        with tempfile.TemporaryDirectory(prefix="alert-mutant-") as folder:
            Path(folder, "rules.yaml").write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
            Path(folder, "tests.yaml").write_text(yaml.safe_dump(tests, sort_keys=False), encoding="utf-8")
            ran = subprocess.run(
                [self._promtool, "test", "rules", "tests.yaml"],
                cwd=folder,
                env=ENVIRONMENT,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        self.said = ran.stdout + ran.stderr
        return ran.returncode != 0


def chosen(names: Sequence[str], one_in: int, start: int) -> list[Mutant]:
    """The mutants of the rules with one of these parts in their name, or of all; of these, one in so many."""
    everything = [
        mutant
        for rule in rules()
        if not names or any(part in rule.name for part in names)
        for mutant in mutants_of(rule)
        if (rule.name, mutant.what) not in UNNOTICEABLE
    ]
    random.Random(SEED).shuffle(everything)
    return everything[start::one_in]


def survivors(bench: Bench, mutants: Sequence[Mutant], workers: int) -> Iterator[Mutant]:
    """Those that no test notices, each as soon as it is known."""
    with ThreadPoolExecutor(workers) as pool:
        noticed = pool.map(lambda mutant: bench.noticed(mutant, mutant.rule), mutants)
        for mutant, was_noticed in zip(mutants, noticed, strict=True):
            if not was_noticed:
                yield mutant


def difference(mutant: Mutant) -> str:
    """The change, as lines to read."""
    lines = [f"SURVIVED {mutant.rule.name}: {mutant.what}"]
    if mutant.expr != mutant.rule.expr:
        lines += [f"  - {line}" for line in mutant.rule.expr.strip().splitlines()]
        lines += [f"  + {line}" for line in mutant.expr.strip().splitlines()]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.monitoring.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of rules (default: all)")
    parser.add_argument("--one-in", type=int, default=1, help="try only one mutant in so many")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    promtool = tool("promtool")
    if promtool is None:
        print("promtool is missing: install the package prometheus")
        return 2
    started = time.monotonic()
    bench = Bench(promtool)
    for rule in rules():
        if not bench.has_tests(rule):
            print(f"no test checks {rule.name}")
            return 2
    for stem in sorted(path.stem for path in UNIT_TESTS.glob("*.yaml")):
        if bench.fails(stem, None):
            print(f"the rules as they are fail {stem}.yaml: {bench.said}")
            return 2
    mutants = chosen(options.names, options.one_in, 0)
    left = []
    for mutant in survivors(bench, mutants, options.workers):
        left.append(mutant)
        print(difference(mutant), flush=True)
    passed = len(mutants) - len(left)
    print(f"{passed} of {len(mutants)} changes were noticed, {time.monotonic() - started:.0f} s")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
