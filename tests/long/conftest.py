"""The embedded servers for the real service, and Prometheus' tool, for tests that take minutes: ``make test-long``."""

from tests.integration.conftest import company
from tests.monitoring.conftest import promtool

__all__ = ["company", "promtool"]
