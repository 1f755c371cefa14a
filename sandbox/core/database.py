"""Core's database in a real PostgreSQL, with the tables and the feed of `schemas/core`."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

import schemas
from sandbox.core.document import load
from sandbox.core.rows import JOB_FIELDS
from sandbox.core.schedule import Schedule
from sandbox.servers.postgres import Postgres
from sandbox.servers.psql import Session

FOLDER: Final = Path(str(schemas.FOLDER / "core"))
"""Core's side of the feed: the SQL, the connector's configuration, the topics'."""

FEED_PASSWORD: Final = "sandbox-feed-password"

_STATE: Final = """
    select json_build_object(
        'revision', (select last_value from calendar_revision),
        'sites', (select coalesce(json_agg(sites), '[]') from sites),
        'workers', (
            select coalesce(json_agg(w), '[]') from (select worker_id, site_id, calendar_email from workers) w
        ),
        'jobs', (select coalesce(json_agg(calendar_job), '[]') from calendar_job)
    )
"""


class CoreDatabase:
    """One database of that server, called `core`."""

    name: Final = "core"

    def __init__(self, server: Postgres) -> None:
        self.server = server

    def create(self) -> None:
        """Makes the database, with its tables, triggers, publication and role. Raises ServerFailedError."""
        self.server.psql(f"create database {self.name}")
        for file in ("tables", "calendar_job", "feed"):
            self.server.psql(FOLDER / f"{file}.sql", database=self.name, variables={"feed_password": FEED_PASSWORD})

    def run(self, sql: str) -> str:
        """One transaction: what psql printed for it. Raises ServerFailedError."""
        return self.server.psql(sql, database=self.name)

    def session(self) -> Session:
        """A connection that stays open."""
        return Session(self.server, self.name)

    def schedule(self, clock: Callable[[], datetime]) -> Schedule:
        """What is committed, as the stand-in for Core's API serves it and the oracle judges by."""
        document = json.loads(self.run(_STATE))
        # A table that has grown a column shows what it did before.
        document["jobs"] = [{name: row[name] for name in JOB_FIELDS} for row in document["jobs"]]
        return load(Schedule(clock), document)

    def environment(self) -> dict[str, str]:
        """What the connector's configuration refers to as `${env:…}`, as far as it is the database's."""
        return {
            "CORE_DB_HOST": "127.0.0.1",
            "CORE_DB_PORT": str(self.server.port),
            "CORE_DB_NAME": self.name,
            "CORE_DB_PASSWORD": FEED_PASSWORD,
        }
