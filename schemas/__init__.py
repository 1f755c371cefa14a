"""The contracts with Core: the topic's Avro schemas (`*.avsc`) and Core's API (`core-api.yaml`).

This is a package, so that the service finds the files wherever it is installed:

    (schemas.FOLDER / "job-changed-value.avsc").read_text(encoding="utf-8")
"""

from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

FOLDER: Final[Traversable] = files(__name__)
"""The folder that holds the files. `FOLDER.iterdir()` lists them, including this module."""
