"""The real service against the embedded servers, for tests that take minutes: ``make test-long``."""

from tests.integration.conftest import company

__all__ = ["company"]
