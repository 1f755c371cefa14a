"""A stand-in for Core, for development and tests: its database, its change feed and its API."""
