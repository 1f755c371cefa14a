"""Plants each fault of the list alone in a copy of the tree, and checks that the tests notice it: ``make mutants``.

Exit codes: 0 every fault was noticed; 1 a fault was not noticed; 2 a fault cannot be planted, a named test does not
exist, or the clean tree fails its tests.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from redis import Redis, RedisError

from sandbox.servers.embedded import embedded_valkey
from tests.mutants.listed import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
QUICK = ("tests/unit", "tests/contract", "tests/simulation")
"""Tests that need no server except the store's."""
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".demo", ".*cache*", "__pycache__", "node_modules", "dist")
TIMEOUT_SECONDS = 900.0
PASSED, FAILED = 0, 1
"""pytest's exit codes; all others are errors."""
OUT_OF_TIME = -1


@dataclass(frozen=True)
class Outcome:
    """The result of one mutant."""

    mutant: Mutant
    verdict: str
    """caught, SURVIVED or ERROR."""
    said: str
    """The tests that failed, or what is wrong."""
    seconds: float


class Copy:
    """A copy of the tree in which faults are planted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT, folder, ignore=LEFT_OUT)

    def test(self, *selected: str, stop: bool = True) -> tuple[int, str]:
        """Returns pytest's exit code, and the tests that failed or the first lines of its output."""
        options = ["-q", "-p", "no:cacheprovider", "--no-header", "--tb=no", "-rfE", *(["-x"] if stop else [])]
        try:
            ran = self.python("-m", "pytest", *options, *selected, timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            return OUT_OF_TIME, "timed out"
        lines = ran.stdout.splitlines()
        failed = [line.split(" ")[1].rpartition("::")[2] for line in lines if line.startswith(("FAILED", "ERROR"))]
        return ran.returncode, ", ".join(dict.fromkeys(failed)) or "; ".join([*ran.stderr.splitlines(), *lines][:3])

    def python(self, *arguments: str, timeout: float = 60.0) -> "subprocess.CompletedProcess[str]":
        """Runs Python in the copy, on the copy's own modules."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def try_out(self, mutant: Mutant, redis: Redis, *, all_tests: bool) -> Outcome:
        """Plants the fault, runs its tests, and removes it again."""
        started, path = time.monotonic(), self.folder / mutant.file
        whole = path.read_text() if path.exists() else ""
        if whole.count(mutant.old) != 1:
            return Outcome(mutant, "ERROR", f"its text occurs {whole.count(mutant.old)} times in {mutant.file}", 0.0)
        path.write_text(whole.replace(mutant.old, mutant.new))
        try:
            broken = self._breaks(mutant, redis)
            if broken:
                return Outcome(mutant, "ERROR", broken, time.monotonic() - started)
            code, said = self.test(*(QUICK if all_tests else mutant.tests), stop=not all_tests)
        finally:
            path.write_text(whole)
        verdict = {PASSED: "SURVIVED", FAILED: "caught"}.get(code, "ERROR")
        return Outcome(mutant, verdict, said if verdict != "SURVIVED" else "", time.monotonic() - started)

    def _breaks(self, mutant: Mutant, redis: Redis) -> str:
        """Why the changed file cannot be loaded; empty if it can."""
        if mutant.file.endswith(".lua"):
            scripts = (self.folder / mutant.file).parent
            try:
                redis.script_load((scripts / "common.lua").read_text() + (self.folder / mutant.file).read_text())
            except RedisError as error:
                return f"it is not a valid script: {error}"
            return ""
        ran = self.python("-c", f"import {mutant.file.removesuffix('.py').replace('/', '.')}")
        return "" if ran.returncode == 0 else f"it cannot be imported: {ran.stderr.splitlines()[-1]}"

    def check(self) -> str:
        """Why the tests would not use the copy's modules; empty if they do."""
        ran = self.python("-c", "import consumer; print(consumer.__file__)")
        return "" if ran.stdout.startswith(str(self.folder)) else f"the copy is not used: {ran.stdout}{ran.stderr}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of the mutants to try (default: all)")
    parser.add_argument(
        "--all-tests", action="store_true", help="run all quick tests for each mutant, not only the named ones"
    )
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    chosen = [each for each in MUTANTS if not options.names or any(part in each.name for part in options.names)]
    if not chosen:
        parser.error("no mutant has a name with one of these parts")
    if nameless := [each.name for each in chosen if not each.tests]:
        print(f"no test is named for: {', '.join(nameless)}")
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch, embedded_valkey(Path(scratch)) as valkey:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for number in range(options.workers):
            copies.put(Copy(Path(scratch) / f"copy-{number}"))
        clean = copies.get()
        named = sorted({test for mutant in chosen for test in mutant.tests})
        code, said = (
            (FAILED, problem) if (problem := clean.check()) else clean.test(*(QUICK if options.all_tests else named))
        )
        copies.put(clean)
        if code != PASSED:
            print(f"the clean tree does not pass its tests: {said}")
            return 2
        print(f"the clean tree passes the {len(named)} named tests", flush=True)
        redis = Redis.from_url(valkey.url)

        def tried(mutant: Mutant) -> Outcome:
            if not mutant.tests and not options.all_tests:
                return Outcome(mutant, "SURVIVED", "no test is named for it", 0.0)
            copy = copies.get()
            try:
                outcome = copy.try_out(mutant, redis, all_tests=options.all_tests)
            finally:
                copies.put(copy)
            print(f"{outcome.verdict:<9} {mutant.name} ({outcome.seconds:.0f} s)", flush=True)
            return outcome

        with ThreadPoolExecutor(options.workers) as pool:
            outcomes = list(pool.map(tried, chosen))
    _print_table(outcomes)
    verdicts = {outcome.verdict for outcome in outcomes}
    return 2 if "ERROR" in verdicts else 1 if "SURVIVED" in verdicts else 0


def _print_table(outcomes: list[Outcome]) -> None:
    width = max(len(outcome.mutant.name) for outcome in outcomes)
    print(f"\n{'mutant':<{width}}  {'verdict':<8}  {'s':>4}  noticed by")
    for outcome in outcomes:
        print(f"{outcome.mutant.name:<{width}}  {outcome.verdict:<8}  {outcome.seconds:4.0f}  {outcome.said}")
    print(f"\n{sum(outcome.verdict == 'caught' for outcome in outcomes)} of {len(outcomes)} caught")


if __name__ == "__main__":
    sys.exit(main())
