"""Series: a master and its occurrences, which are created in advance."""

from dataclasses import replace
from datetime import timedelta

from sandbox.graph import zones
from sandbox.graph.world import Event, World

_STEPS = {"daily": timedelta(days=1), "weekly": timedelta(weeks=1)}


def make_series(world: World, event: Event, pattern: str, count: int) -> None:
    """Turns the event into a series of `count` occurrences, daily or weekly. Raises ValueError."""
    if pattern not in _STEPS or not 1 <= count <= 366:
        raise ValueError("a series must be daily or weekly, with 1 to 366 occurrences")
    first = zones.to_local(event.start, zones.kept(event.start_zone))
    details: dict[str, object] = {"type": pattern, "interval": 1}
    if pattern == "weekly":
        details["daysOfWeek"] = [f"{first:%A}".lower()]
    event.kind = "seriesMaster"
    event.recurrence = {
        "pattern": details,
        "range": {
            "type": "numbered",
            "startDate": f"{first:%Y-%m-%d}",
            "endDate": "0001-01-01",
            "recurrenceTimeZone": event.start_zone,
            "numberOfOccurrences": count,
        },
    }
    repeat(world, event)


def repeat(world: World, master: Event) -> None:
    """Creates the master's occurrences again. Those that a person changed (exceptions) stay."""
    if master.recurrence is None:
        return
    exceptions = [each for each in master.occurrences if each.kind == "exception"]
    for each in master.occurrences:
        if each.kind != "exception":
            master.mailbox.events.pop(each.immutable_id, None)
            master.mailbox.by_regular_id.pop(each.regular_id, None)
    where = zones.kept(master.start_zone)
    length = master.end - master.start
    first = zones.to_local(master.start, where)
    step = _STEPS[master.recurrence["pattern"]["type"]]
    master.occurrences = exceptions
    for number in range(len(exceptions), master.recurrence["range"]["numberOfOccurrences"]):
        local = first + step * number
        start = local if master.is_all_day else zones.to_utc(local, where)
        occurrence = replace(
            master,
            immutable_id=world.immutable_id(master.mailbox),
            regular_id=world.regular_id(master.mailbox),
            change_key=world.change_key(master.mailbox),
            start=start,
            end=start + length,
            kind="occurrence",
            recurrence=None,
            master=master,
            occurrences=[],
            transaction_id=None,
            properties=dict(master.properties) if world.switches.occurrences_carry_tag else {},
            rendered=None,
        )
        master.occurrences.append(occurrence)
        world.put(occurrence)
