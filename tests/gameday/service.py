"""Runs the service with its own fixed waits divided: `python -m tests.gameday.service FACTOR ARGUMENT…`.

No setting changes these waits, of a minute or two. Beside alerts that are a dozen times quicker, they would look like a
dozen minutes: each recovery would outlast the time for which a repaired outage explains its consequences.
"""

import sys
from typing import Final

import consumer.app  # noqa: F401  (it imports every module that has a wait)
from consumer.cli.entry import main

WAITS: Final = ("HAND_OVER_SECONDS", "LONGEST_WAIT_SECONDS", "PROBE_SECONDS")
"""Of a lane that failed: before its work is handed over, between two tries. Of a suspended site: between two tries."""


def divide(factor: float) -> None:
    """Divides each wait, in every module of the service that has imported it. Raises LookupError if none has."""
    modules = [module for name, module in sys.modules.items() if name.startswith("consumer.")]
    for name in WAITS:
        having = [module for module in modules if hasattr(module, name)]
        if not having:
            raise LookupError(f"the service has no {name} any more")
        for module in having:
            setattr(module, name, getattr(module, name) / factor)


if __name__ == "__main__":
    divide(float(sys.argv.pop(1)))
    main()
