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
from sandbox.servers.psql import Psql, Session

FOLDER: Final = Path(str(schemas.FOLDER / "core"))
"""Core's side of the feed: the SQL, and the configuration of the connector and of the topics."""

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
    """The database `core` on the server that `psql` connects to."""

    name: Final = "core"

    def __init__(self, psql: Psql) -> None:
        self._psql = psql

    def create(self, feed_password: str = FEED_PASSWORD) -> None:
        """Creates the database with its tables, triggers, publication and role, where they do not exist yet.

        Raises ServerFailedError.
        """
        if self._psql(f"select count(*) from pg_database where datname = '{self.name}'") == "0":
            self._psql(f"create database {self.name}")
        if self.run("select to_regclass('sites') is null") == "t":
            self._apply("tables")
        self._apply("calendar_job")
        self._apply("feed", feed_password=feed_password)

    def run(self, sql: str) -> str:
        """Runs SQL in one transaction and returns psql's output. Raises ServerFailedError."""
        return self._psql(sql, database=self.name)

    def session(self) -> Session:
        """Returns a connection that stays open."""
        return Session(self._psql, self.name)

    def schedule(self, clock: Callable[[], datetime]) -> Schedule:
        """Returns the committed schedule, for the stand-in of Core's API and for the oracle."""
        document = json.loads(self.run(_STATE))
        # A column that was added to the table is ignored.
        document["jobs"] = [{name: row[name] for name in JOB_FIELDS} for row in document["jobs"]]
        return load(Schedule(clock), document)

    def captured_by(self, slot: str) -> bool:
        """Returns whether a client reads the log through this slot now."""
        return self.run(f"select count(*) from pg_replication_slots where slot_name = '{slot}' and active") == "1"

    def _apply(self, file: str, **variables: str) -> None:
        self._psql(FOLDER / f"{file}.sql", database=self.name, variables=variables)
