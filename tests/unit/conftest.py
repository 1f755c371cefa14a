"""Property tests use the same examples every time, and no deadline: a busy machine fails no test."""

from hypothesis import settings

settings.register_profile("unit", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("unit")
