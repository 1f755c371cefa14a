"""The Prefer header (docs/facts/graph.md 1.4, 1.8): several lines or one comma-separated value."""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from zoneinfo import ZoneInfo

from sandbox.graph import zones
from sandbox.graph.errors import Answer, GraphError

_PREFERENCE = re.compile(r'\s*([^\s=,;"]+)\s*(?:=\s*("[^"]*"|[^\s,;]*))?[^,]*')


@dataclass(frozen=True, slots=True)
class Preferences:
    """The preferences of a request. `applied` is the Preference-Applied header, empty if there is none."""

    zone_name: str
    zone: ZoneInfo
    immutable: bool
    text: bool
    applied: str

    def within(self, zone_name: str) -> "Preferences":
        """Returns the same preferences, but with times in this zone if the zone exists."""
        try:
            return replace(self, zone_name=zone_name, zone=zones.zone(zone_name))
        except GraphError:
            return self

    def confirm(self, answer: Answer) -> Answer:
        if self.applied:
            answer.headers["Preference-Applied"] = self.applied
        return answer


@lru_cache(maxsize=4096)
def preferences(header: str) -> Preferences:
    """Reads the Prefer lines, joined with commas. Raises GraphError (400) for an unknown zone."""
    zone_name, immutable, text = None, False, False
    for match in _PREFERENCE.finditer(header):
        name, value = match[1].lower(), (match[2] or "").strip('"')
        if name == "outlook.timezone":
            zone_name = value
        elif name == "outlook.body-content-type":
            text = value.lower() == "text"
        elif name == "idtype":
            immutable = value.lower() == "immutableid"
    applied = [] if zone_name is None else [f'outlook.timezone="{zone_name}"']
    if text:
        applied.append('outlook.body-content-type="text"')
    return Preferences(
        zone_name="UTC" if zone_name is None else zone_name,
        zone=zones.zone("UTC" if zone_name is None else zone_name),
        immutable=immutable,
        text=text,
        applied=", ".join(applied),
    )


DEFAULT = preferences("")
