"""`python -m monitoring.dashboards`: writes the dashboards' JSON; with `--check`, only compares it with the code."""

import argparse
import sys

from monitoring.dashboards.files import outdated, write


def main() -> int:
    """Returns 1 if `--check` finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.dashboards", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs from the code")
    if parser.parse_args().check:
        changed = outdated()
        for file in changed:
            print(f"{file} differs from the code: run python -m monitoring.dashboards", file=sys.stderr)
        return 1 if changed else 0
    for file in write():
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
