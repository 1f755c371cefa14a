"""Changes to Core's database, and settings of its feed, that show each trap of change data capture."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

# Later than every window for as long as these files are read, so the results of the service do not change.
_START: Final = "2099-12-01 08:00:00.123456+00"
_END: Final = "2099-12-01 10:00:00+00"
_WORKERS: Final = '[{"worker_id": "ann", "calendar_email": "Ann@acme.example"}, {"worker_id": "bob"}]'
_LONG: Final = "(select string_agg(md5(number::text), '') from generate_series(1, 125) number)"
"""4,000 characters: more than the 2 kB beyond which PostgreSQL stores a value beside its row."""


def _insert(job_id: str, **columns: str) -> str:
    """A row as the triggers write it; columns are SQL expressions."""
    row = {
        "job_id": f"'{job_id}'",
        "site_id": "'acme'",
        "revision": "nextval('calendar_revision')",
        "status": "'scheduled'",
        "subject": "'Annual inspection'",
        "starts_at": f"'{_START}'",
        "ends_at": f"'{_END}'",
        "workers": f"'{_WORKERS}'",
        **columns,
    }
    return f"insert into calendar_job ({', '.join(row)}) values ({', '.join(row.values())})"


def _update(job_id: str, what: str) -> str:
    return f"update calendar_job set revision = nextval('calendar_revision'), {what} where job_id = '{job_id}'"


_DELETE: Final = "delete from calendar_job where job_id = 'J-1'"
_SNAPSHOT: Final = (
    "insert into calendar_feed_signal values ('{0}', 'execute-snapshot',"
    """ '{{"type": "incremental", "data-collections": ["public.calendar_job"]}}')"""
)
_BOTH_CONVERTERS: Final = ("key.converter.apicurio.registry.", "value.converter.apicurio.registry.")


def _converters(**settings: str) -> dict[str, str]:
    return {
        converter + name.replace("_", "-"): value for converter in _BOTH_CONVERTERS for name, value in settings.items()
    }


@dataclass(frozen=True, slots=True)
class Step:
    """One statement for the database, and the number of records that it leads to, which are waited for."""

    sql: str
    records: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """One trap. Each has a database, a replication slot and a topic of its own."""

    name: str
    about: str
    steps: tuple[Step, ...]
    connector: Mapping[str, str] = field(default_factory=dict)
    """Differences from the connector's configuration in ``schemas/core``."""
    prepared: tuple[str, ...] = ()
    """SQL that is run before the connector starts."""
    snapshot: int = 0
    """How many records the initial snapshot leads to."""
    topic: str | None = None
    """The topic of the records to keep, if it is not the topic of the table."""


def _times(name: str, about: str, *, mode: str = "adaptive", column: str = "timestamptz") -> Trap:
    """Times in the encoding that a column type and a mode of the connector lead to."""
    # A timestamp without a zone is a wall clock's time. Debezium takes it for UTC, which it is here.
    alter = "alter table calendar_job alter column {0} type {1} using {0} at time zone 'UTC'"
    columns = () if column == "timestamptz" else ("starts_at", "ends_at")
    return Trap(
        name=f"times-{name}",
        about=about,
        connector={"time.precision.mode": mode},
        prepared=tuple(alter.format(name, column) for name in columns),
        steps=(
            Step(_insert("J-1")),
            Step(_update("J-1", "starts_at = '1969-12-31 23:59:59.5+00', ends_at = '2262-01-01 00:00:00+00'")),
            Step(_update("J-1", "starts_at = null, ends_at = null")),
        ),
    )


TRAPS: Final = (
    Trap(
        name="before",
        about="REPLICA IDENTITY DEFAULT: a deletion's `before` holds the key, and fakes where null is not allowed.",
        steps=(
            Step(_insert("J-1")),
            Step(_update("J-1", "subject = 'Second visit', workers = '[]'")),
            Step(_DELETE, 2),
        ),
    ),
    Trap(
        name="before-full",
        about="REPLICA IDENTITY FULL: `before` is the whole old row.",
        prepared=("alter table calendar_job replica identity full",),
        steps=(
            Step(_insert("J-1", notes=_LONG)),
            Step(_update("J-1", "subject = 'Second visit'")),
            Step(_DELETE, 2),
        ),
    ),
    Trap(
        name="toast",
        about="Large values that an update leaves alone are not logged: the placeholder stands in `after`.",
        prepared=(
            "alter table calendar_job alter column notes set storage external",
            "alter table calendar_job alter column workers set storage external",
        ),
        steps=(
            Step(_insert("J-1", notes=_LONG)),
            Step(_update("J-1", "subject = 'Second visit'")),
            Step(
                _update(
                    "J-1",
                    "notes = null, workers = (select jsonb_agg(jsonb_build_object('worker_id', 'w' || number,"
                    " 'calendar_email', 'w' || number || '@acme.example')) from generate_series(1, 60) number)",
                )
            ),
            Step(_update("J-1", "status = 'confirmed'")),
        ),
    ),
    Trap(
        name="toast-array",
        about="The placeholder of a large array is an array that holds it.",
        prepared=(
            "alter table calendar_job drop column workers, add column workers jsonb[]",
            "alter table calendar_job alter column workers set storage external",
        ),
        steps=(
            Step(
                _insert(
                    "J-1",
                    workers="(select array_agg(jsonb_build_object('worker_id', 'w' || number,"
                    " 'calendar_email', 'w' || number || '@acme.example')) from generate_series(1, 60) number)",
                )
            ),
            Step(_update("J-1", "subject = 'Second visit'")),
        ),
    ),
    Trap(
        name="workers-array",
        about="Workers as an array of JSON: Debezium gives an array of strings.",
        prepared=("alter table calendar_job drop column workers, add column workers jsonb[]",),
        steps=(
            Step(
                _insert(
                    "J-1",
                    workers="""array['{"worker_id": "ann", "calendar_email": "Ann@acme.example"}',"""
                    """ '{"worker_id": "bob", "calendar_email": null}']::jsonb[]""",
                )
            ),
            Step(_update("J-1", "workers = '{}'")),
            Step(_update("J-1", "workers = array[null]::jsonb[]")),
        ),
    ),
    Trap(
        name="snapshots",
        about="`r` of the initial snapshot (first, true, last), changes, and `r` of an incremental one.",
        prepared=(_insert("J-1"), _insert("J-2"), _insert("J-3")),
        snapshot=3,
        steps=(
            Step(_update("J-2", "subject = 'Second visit'")),
            Step(_SNAPSHOT.format("again"), 3),
        ),
    ),
    Trap(
        name="key-change",
        about="A changed primary key is a deletion, a tombstone and a creation, with headers that name the other key.",
        steps=(
            Step(_insert("J-1")),
            Step(_update("J-1", "job_id = 'J-2'"), 3),
        ),
    ),
    Trap(
        name="truncate",
        about="A truncation, which neither the trigger, nor the publication, nor the connector would let through.",
        connector={"skipped.operations": "none"},
        prepared=(
            "drop trigger calendar_truncate_refused on calendar_job",
            "alter publication calendar_feed set (publish = 'insert, update, delete, truncate')",
        ),
        steps=(
            Step(_insert("J-1")),
            Step("truncate calendar_job"),
        ),
    ),
    Trap(
        name="nulls",
        about="Every column null that may be, and the workers of nobody.",
        steps=(
            Step(_insert("J-1", subject="null", starts_at="null", ends_at="null", workers="'[]'")),
            Step(_update("J-1", "workers = null")),
        ),
    ),
    Trap(
        name="defaults",
        about="Nullable columns with a default of the database's: their default stands first, and replaces null.",
        prepared=(
            "alter table calendar_job alter column notes set default 'Ring the bell.'",
            "alter table calendar_job alter column workers set default '[]'",
        ),
        steps=(
            Step(_insert("J-1", notes="'By the gate.'")),
            Step(_update("J-1", "notes = null")),
        ),
    ),
    Trap(
        name="evolution",
        about="A column added, widened and dropped between the records of one topic.",
        prepared=("alter table calendar_job alter column revision type int",),
        steps=(
            Step(_insert("J-1", contact_phone="'0113 496 0000'")),
            Step("alter table calendar_job add column priority text;" + _update("J-1", "priority = 'high'")),
            Step(
                "alter table calendar_job alter column revision type bigint;"
                "select setval('calendar_revision', 5000000000);" + _update("J-1", "subject = 'Widened'")
            ),
            Step("alter table calendar_job drop column contact_phone;" + _update("J-1", "subject = 'Dropped'")),
        ),
    ),
    Trap(
        name="long-ids",
        about="Apicurio's ids of eight bytes, as its version 2 wrote them.",
        connector=_converters(id_handler="io.apicurio.registry.serde.Legacy8ByteIdHandler"),
        steps=(Step(_insert("J-1")), Step(_DELETE, 2)),
    ),
    Trap(
        name="header-ids",
        about="Apicurio's ids in the headers, the datum bare.",
        connector={prefix + "headers.enabled": "true" for prefix in _BOTH_CONVERTERS},
        steps=(Step(_insert("J-1")), Step(_update("J-1", "subject = 'Second visit'")), Step(_DELETE, 2)),
    ),
    Trap(
        name="references",
        about="Schemas that are registered in parts, which name one another.",
        connector=_converters(dereference_schema="false"),
        steps=(Step(_insert("J-1")), Step(_update("J-1", "subject = 'Second visit'")), Step(_DELETE, 2)),
    ),
    _times("zoned", "timestamptz, the contract: text with microseconds, in UTC."),
    _times("millis", "timestamp(3): milliseconds.", column="timestamp(3)"),
    _times("micros", "timestamp(6): microseconds.", column="timestamp(6)"),
    _times("connect", "Connect's own timestamps: Avro's timestamp-millis.", mode="connect", column="timestamp(6)"),
    _times("microseconds", "Everything in microseconds.", mode="microseconds", column="timestamp(3)"),
    _times("nanoseconds", "Everything in nanoseconds.", mode="nanoseconds", column="timestamp(3)"),
    _times("isostring", "Times as ISO 8601 texts.", mode="isostring", column="timestamp(6)"),
    Trap(
        name="times-infinite",
        about="Times without end, in both types of column.",
        prepared=("alter table calendar_job alter column starts_at type timestamp using starts_at at time zone 'UTC'",),
        steps=(
            Step(_insert("J-1", starts_at="'-infinity'", ends_at="null")),
            Step(_insert("J-2", starts_at="null", ends_at="'infinity'")),
        ),
    ),
    Trap(
        name="heartbeats",
        about="Heartbeats, which tell a quiet database from a dead feed.",
        connector={"heartbeat.interval.ms": "500", "topic.heartbeat.prefix": "golden"},
        topic="golden.core",
        steps=(Step(_insert("J-1"), 2),),
    ),
)
