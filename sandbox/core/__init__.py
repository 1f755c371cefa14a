"""A stand-in for Core: its database, its change feed and its API, to develop and test against."""
