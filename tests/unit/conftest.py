"""Property tests use the same examples every time, and no deadline: a busy machine fails no test."""

import hypothesis

from tests.unit.loaded_settings import environment, settings

__all__ = ["environment", "settings"]

hypothesis.settings.register_profile("unit", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("unit")
