"""Audit lines: what they hold, and what they cost."""

from structlog.testing import capture_logs

from consumer.ops.audit import AuditLog


def test_each_action_has_its_event_and_its_fields_in_order() -> None:
    with capture_logs() as lines:
        for action in ("created", "updated", "claimed", "deleted"):
            AuditLog().written(action, "acme", "J-1", "AAMk", cause="change", revision=7, fields=("subject",))
    about = {"audit": True, "site": "acme", "job": "J-1", "event_id": "AAMk", "cause": "change", "revision": 7}
    assert [{key: value for key, value in line.items() if key != "log_level"} for line in lines] == [
        {**about, "event": "event created"},
        {**about, "event": "event updated", "fields": ("subject",)},
        {**about, "event": "event updated", "fields": ("subject",), "claimed": True},
        {**about, "event": "event deleted"},
    ]
    assert {line["log_level"] for line in lines} == {"info"}
