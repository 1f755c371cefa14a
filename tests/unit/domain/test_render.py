"""The content of an event: the administrators' guide, by example and by property."""

from datetime import UTC, datetime, timedelta
from html import escape, unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.domain.job import Job
from consumer.domain.render import render
from consumer.domain.text import html_lines, lines_of, one_line
from consumer.domain.timezones import UTC_ZONE, zone_for

START = datetime(2026, 12, 1, 9, tzinfo=UTC)
END = START + timedelta(hours=2)
FULL = {
    "subject": "Annual lift inspection",
    "client_name": "Northwind",
    "site_name": "Plant 4",
    "customer_reference": "PO-77",
    "contact_name": "Ann Lee",
    "contact_mobile": "07700 900123",
    "contact_phone": "020 7946 0000",
    "contact_email": "ann@northwind.example",
    "address": "1 High St\nLeeds\nLS1 4AP",
    "notes": "Ring first\r\n\r\nDog in yard",
}
LABELS = {
    "Job": "subject",
    "Customer reference": "customer_reference",
    "Contact": "contact_name",
    "Mobile": "contact_mobile",
    "Phone": "contact_phone",
    "Email": "contact_email",
    "Address": "address",
}
TEXTS = st.none() | st.text() | st.sampled_from([" ", "\r\n", "<b>&amp;</b>", "a\nb"])


def job(**fields: str | None) -> Job:
    return Job("J-1", "acme", 1, "scheduled", **fields)  # type: ignore[arg-type]


def expected_lines(fields: dict[str, str | None]) -> tuple[str, ...]:
    """What a person reads in the body, by the guide."""
    lines = [
        f"{label}: {value}"
        for label, name in LABELS.items()
        if (value := one_line(fields[name], breaks=", " if name == "address" else " "))
    ]
    notes = [line for line in lines_of(fields["notes"]) if line]
    return (*lines, *(f"Notes: {line}" if number == 0 else line for number, line in enumerate(notes)))


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@pytest.mark.parametrize(
    ("client", "site", "subject"),
    [
        ("Northwind", "Plant 4", "Core Job — Northwind (Plant 4)"),
        ("Northwind", None, "Core Job — Northwind"),
        (None, "Plant 4", "Core Job (Plant 4)"),
        (" ", "\t", "Core Job"),
        ("North\nwind", " Plant  4 ", "Core Job — North wind (Plant 4)"),
    ],
)
def test_the_subject_names_client_and_site_if_there_are_any(client: str | None, site: str | None, subject: str) -> None:
    assert render(job(client_name=client, site_name=site), START, END, UTC_ZONE).subject == subject


def test_the_location_is_the_address_on_one_line() -> None:
    assert render(job(**FULL), START, END, UTC_ZONE).location == "1 High St, Leeds, LS1 4AP"
    assert render(job(), START, END, UTC_ZONE).location == ""


def test_the_body_holds_every_field_in_the_guides_order() -> None:
    assert render(job(**FULL), START, END, UTC_ZONE).body == (
        "Job: Annual lift inspection<br>Customer reference: PO-77<br>Contact: Ann Lee<br>Mobile: 07700 900123<br>"
        "Phone: 020 7946 0000<br>Email: ann@northwind.example<br>Address: 1 High St, Leeds, LS1 4AP<br>"
        "Notes: Ring first<br><br>Dog in yard"
    )


@pytest.mark.parametrize("empty", [None, "", "  ", "\r\n\t"])
def test_an_empty_field_is_left_out_label_and_all(empty: str | None) -> None:
    assert render(job(), START, END, UTC_ZONE).body == ""
    partial = dict.fromkeys(FULL, empty) | {"contact_phone": "1"}
    assert render(job(**partial), START, END, UTC_ZONE).body == "Phone: 1"


def test_values_are_escaped() -> None:
    event = render(job(subject="<script>x</script> & \"y\" 'z'"), START, END, UTC_ZONE)
    assert event.body == "Job: &lt;script&gt;x&lt;/script&gt; &amp; &quot;y&quot; &#x27;z&#x27;"
    assert html_lines(event.body) == ("Job: <script>x</script> & \"y\" 'z'",)


@given(st.fixed_dictionaries(dict.fromkeys(FULL, TEXTS)))
def test_for_any_job_the_limits_hold_and_the_body_reads_back(fields: dict[str, str | None]) -> None:
    event = render(job(**fields), START, END, UTC_ZONE)
    for line in (event.subject, event.location):
        assert units(line) <= 255
        assert line == one_line(line)
    assert html_lines(event.body) == expected_lines(fields)


@pytest.mark.parametrize("character", ["x", "é", "👷"])
def test_subject_and_location_are_cut_at_255_utf16_units_with_the_ellipsis_inside(character: str) -> None:
    event = render(job(client_name=character * 300, address=character * 300), START, END, UTC_ZONE)
    for line in (event.subject, event.location):
        assert 254 <= units(line) <= 255
        assert line.endswith(character + "…")
    fits = render(job(address=character * (255 // units(character))), START, END, UTC_ZONE)
    assert not fits.location.endswith("…")


def test_a_body_of_just_the_limit_is_whole_and_one_more_is_cut() -> None:
    whole = render(job(notes="x" * (32_000 - len("Notes: "))), START, END, UTC_ZONE)
    assert len(whole.body) == 32_000
    assert not whole.body.endswith("…")
    cut = render(job(notes="x" * (32_001 - len("Notes: "))), START, END, UTC_ZONE)
    assert len(cut.body) == 32_000
    assert cut.body.endswith("x…")


@settings(max_examples=30)
@given(st.text(st.sampled_from("ab&<\"'\n👷"), min_size=3, max_size=12), st.text(st.sampled_from("a&<"), max_size=9))
def test_a_body_is_never_cut_inside_an_entity_or_a_line_break(pattern: str, lead: str) -> None:
    event = render(job(subject=lead, notes=pattern * 12_000), START, END, UTC_ZONE)
    assert len(event.body) <= 32_000
    for line in event.body.split("<br>"):
        assert escape(unescape(line)) == line
        assert "<" not in line
    whole = (f"Job: {one_line(lead)}\n" if one_line(lead) else "") + f"Notes: {(pattern * 12_000).strip()}"
    if event.body.endswith("…"):
        assert len(event.body) > 32_000 - len("&quot;") - 1
        assert whole.startswith("\n".join(unescape(line) for line in event.body[:-1].split("<br>")))


def test_times_are_written_in_the_zone_and_kept_as_instants() -> None:
    event = render(job(), START, END, zone_for("Eastern Standard Time", "UTC"))
    assert (event.start, event.end) == (START, END)
    assert (event.zone, event.local_start, event.local_end) == (
        "Eastern Standard Time",
        "2026-12-01T04:00:00.000000",
        "2026-12-01T06:00:00.000000",
    )
    in_utc = event.in_utc()
    assert (in_utc.zone, in_utc.local_start, in_utc.start) == ("UTC", "2026-12-01T09:00:00.000000", START)


@pytest.mark.parametrize("field", ["subject", "client_name", "site_name", "contact_phone", "address", "notes"])
def test_a_changed_field_changes_the_fingerprint(field: str) -> None:
    one, same, other = (render(job(**FULL | {field: value}), START, END, UTC_ZONE) for value in ("a", " a ", "b"))
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    assert len(one.fingerprint()) == 16


def test_a_changed_zone_or_time_changes_the_fingerprint() -> None:
    events = [
        render(job(), START, END, UTC_ZONE),
        render(job(), START, END, zone_for("Europe/London", "UTC")),
        render(job(), START, END + timedelta(minutes=1), UTC_ZONE),
    ]
    assert len({event.fingerprint() for event in events}) == 3
