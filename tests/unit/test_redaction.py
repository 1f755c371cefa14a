"""Redaction: no output contains a token, secret or address from any source."""

import base64
import json
import re
import time
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer import redaction
from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site
from consumer.ops.health import HealthServer
from consumer.ops.metrics import Metrics
from consumer.redaction import KnownSecrets, error_text, login_of
from consumer.sync.parking import Parking
from consumer.sync.partition_lag import PartitionLag
from consumer.sync.sweep_state import SweepState

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJyb2xlcyI6W119.c2ln-X_"


def cleaned(value: Any, name: str = "event") -> Any:
    return redaction.named(name, value)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"got {TOKEN} back", "got [token] back"),
        ("Authorization: Bearer abc.DEF~g+h/i==", "Authorization: Bearer [token]"),
        ("Authorization: Basic dXNlcjpzM2NyZXQ=", "Authorization: Basic [token]"),
        ("Basic authentication is refused", "Basic authentication is refused"),
        (
            "grant_type=client_credentials&client_secret=a~b.c&scope=x",
            "grant_type=client_credentials&client_secret=[…]&scope=x",
        ),
        ('{"client_secret": "a,b c", "access_token":"x"}', '{"client_secret": […], "access_token":[…]}'),
        ("{'client_secret': 'a b', 'password': 'c'}", "{'client_secret': […], 'password': […]}"),
        ('{"password": "a\\"b c", "x": "y"}', '{"password": […], "x": "y"}'),
        ('{"password": "a\\\\", "x": "y"}', '{"password": […], "x": "y"}'),
        (r'"{\"password\": \"a\\\"b c\", \"x\": 1}"', r'"{\"password\": […], \"x\": 1}"'),
        ("{'password': 'it\\'s a b', 'x': 1}", "{'password': […], 'x': 1}"),
        ('{"password": "cut in the mid', '{"password": […]'),
        (r"{\"password\": \"cut in the mid", r"{\"password\": […]"),
        ("sasl.password=abc", "sasl.password=[…]"),
        ("redis://user:pa55@redis:6379/0 is down", "redis://[…]@redis:6379/0 is down"),
        ("amqp://:pa55@host", "amqp://[…]@host"),
        ("mailbox acme/ann.o'neil+x@mail.acme.example is parked", "mailbox [address] is parked"),
        ("GET /users/ann%40acme.example/events", "GET [address]/events"),
        ("JÖRG@bücher.example", "[address]"),
        ("ann@acme.example/bob@acme.example|eve%40acme.example", "[address][address][address]"),
        ("a@b c@acme.example, @ann/x@y@acme.example", "a@b [address], @ann/x@[address]"),
        (f"eyJ. eyJa-eyJ {TOKEN}/{TOKEN}", "eyJ. eyJa-eyJ [token]/[token]"),
        ("https://graph.microsoft.com/v1.0 answered 503", "https://graph.microsoft.com/v1.0 answered 503"),
        ("client_secret is missing", "client_secret is missing"),
        ("sweep of acme: 5 events at 09:00:00.5", "sweep of acme: 5 events at 09:00:00.5"),
    ],
)
def test_tokens_secrets_and_addresses_are_removed_from_a_text(text: str, clean: str) -> None:
    assert cleaned(text) == clean


MEGABYTE = 1_000_000
SHAPES = {
    "letters after an @": "@" + "a" * MEGABYTE,
    "encoded @": "x%40" * (MEGABYTE // 4),
    "domains": "a@b" + ".c" * (MEGABYTE // 2) + "@",
    "tokens that never end": "eyJ" * (MEGABYTE // 3),
    "tokens with dots": "eyJ." * (MEGABYTE // 4),
    "logins": "://a:b" * (MEGABYTE // 6) + "@",
    "bearers": "bearer " * (MEGABYTE // 7) + " " * 1000,
    "white space": "password" + " " * MEGABYTE + "basic" + " " * MEGABYTE,
    "names": "password" * (MEGABYTE // 8),
    "quotes": "password='\"" * (MEGABYTE // 11),
    "escapes": "password=" + "\\" * MEGABYTE,
    "escaped quotes": 'password=\\"' * (MEGABYTE // 11),
    "quoted backslashes": "@'" + "\\" * MEGABYTE,
    "escaped apostrophes": "@" + "\\'" * (MEGABYTE // 2) + "b",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_megabyte_of_any_shape_is_cleaned_in_time_proportional_to_its_length(shape: str) -> None:
    started = time.process_time()
    assert len(cleaned(SHAPES[shape])) <= 40_000
    assert len(error_text(ValueError(SHAPES[shape]))) <= 1_020
    redaction.text(SHAPES[shape], addresses=False)
    # A second is usual on a slow machine. Work that grows with the square of the length takes hours.
    assert time.process_time() - started < 20


@pytest.mark.parametrize("length", [16, 40])
def test_a_quoted_text_with_backslashes_is_read_once(length: int) -> None:
    started = time.process_time()
    assert error_text(ValueError("'" + "\\a" * length + "'b")) == "ValueError: '" + "\\a" * length + "'b"
    assert time.process_time() - started < 20


@pytest.mark.parametrize(
    "planted", ["planted~secret-0123456789", "ann@acme.example", "eyJhbGci.abc", "password='planted b'"]
)
def test_what_is_cut_off_leaves_no_half_of_a_secret_or_an_address(
    planted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redaction, "KNOWN", known("planted~secret-0123456789"))
    for before in range(redaction._LONGEST - len(planted), redaction._LONGEST + 1):
        shown = cleaned(f"{'x' * (before - 1)} {planted} y")
        assert shown.endswith("…") or len(shown) <= redaction._LONGEST
        assert not any(part in shown for part in ("planted", "ann", "acme", "abc"))


def test_what_an_operator_asked_for_is_not_cut() -> None:
    document = json.dumps(["ann@acme.example"] * 10_000)
    assert redaction.text(document, addresses=False) == document


@pytest.mark.parametrize("name", ["client_secret", "access_token", "refresh_token", "password", "Authorization"])
def test_a_value_under_a_secrets_name_is_removed_whole(name: str) -> None:
    assert cleaned("s3cret", name) == "[…]"
    assert cleaned({"body": {name: "s3cret"}}) == {"body": {name: "[…]"}}


def test_values_of_any_type_are_cleaned_at_any_depth() -> None:
    address = "ann@acme.example"
    assert cleaned([address, (address, 5)]) == ["[address]", ["[address]", 5]]
    assert cleaned({address: [address]}) == {"[address]": ["[address]"]}
    assert cleaned(ValueError(f"no mailbox {address}")) == "ValueError: no mailbox [address]"
    assert address not in cleaned({address})
    assert cleaned(f"x {address}".encode()) == "b'x [address]'"


@pytest.mark.parametrize("value", [None, True, 5, 0.5, "", "plain"])
def test_plain_values_stay_as_they_are(value: Any) -> None:
    assert cleaned(value) is value or cleaned(value) == value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.just(datetime(2026, 12, 1, tzinfo=UTC)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.sampled_from([TOKEN, "ann@acme.example", "Bearer abc", "client_secret=abc"]))
def test_any_value_can_be_logged_without_showing_secrets(value: Any, secret: str) -> None:
    assert secret not in json.dumps(cleaned([value, {"inner": f" {secret} "}]), ensure_ascii=False)


def known(*secrets: str, source: str = "settings") -> KnownSecrets:
    found = KnownSecrets()
    found.replace(source, secrets)
    return found


FILLING = [f"client-secret-of-a-site-{n:05}" for n in range(200)]
"""So many that they are not looked for one by one."""


@pytest.mark.parametrize("others", [[], FILLING])
@pytest.mark.parametrize(
    "secret", ["Xy8~Q.aB-longer_than_the_pieces", "pa55 w/o%d", "qu'ote\"d\\ and more text", "pässwörd+1"]
)
def test_a_known_secret_is_found_in_any_form_at_any_place(secret: str, others: list[str]) -> None:
    secrets = known(secret, *others)
    for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]):
        for before in range(20):
            text = f"{'x' * before}{form}yz"
            assert secrets.out_of(text) == f"{'x' * before}[…]yz", form


@pytest.mark.parametrize("others", [[], FILLING])
def test_a_login_is_found_whole_as_a_password_and_in_base64(others: list[str]) -> None:
    secrets = known("user:p/ss:word-0123456789", *others)
    encoded = base64.b64encode(b"user:p/ss:word-0123456789").decode()
    assert (
        secrets.out_of(f"Proxy-Authorization {encoded} for user")
        == f"Proxy-Authorization […]{'=' * encoded.count('=')} for user"
    )
    assert secrets.out_of("https://user:p%2Fss%3Aword-0123456789@host") == "https://user:[…]@host"
    assert "word-" not in secrets.out_of("user:p/ss:word-0123456789")


@pytest.mark.parametrize("others", [[], FILLING])
def test_a_secret_with_a_colon_that_is_no_login_is_found_as_a_whole(others: list[str]) -> None:
    secret = "client secret/with:end"
    for form in (secret, quote(secret, safe=""), quote(secret)):
        assert known(secret, *others).out_of(f"x {form} y") == "x […] y"


def test_a_line_with_an_authorization_is_not_clean() -> None:
    assert not redaction.is_clean('{"headers":{"Authorization":"opaque-value"}}')


def test_the_secrets_of_a_source_follow_its_changes_and_the_last_ones_stay_for_once() -> None:
    secrets = known("the-first-secret-of-all", *FILLING)
    secrets.replace("settings", ["the-second-secret-of-all"])
    assert secrets.out_of("the-first-secret-of-all the-second-secret-of-all") == "[…] […]"
    secrets.replace("settings", ["the-third-secret-of-all"])
    secrets.replace("settings", ["the-third-secret-of-all"])
    assert secrets.out_of("the-first-secret-of-all the-second-secret-of-all") == "the-first-secret-of-all […]"
    secrets.replace("settings", ["short-secret"])
    secrets.replace("settings", [])
    assert not secrets._grams
    assert list(secrets._count) == ["short-secret"]


def test_a_secret_of_two_sources_stays_while_one_has_it() -> None:
    secrets = known("shared-secret-of-two", source="sites")
    secrets.replace("settings", ["shared-secret-of-two"])
    for _ in range(2):
        secrets.replace("sites", [])
    assert secrets.out_of("shared-secret-of-two") == "[…]"


def test_short_values_are_left_to_the_patterns_and_the_number_of_forms_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redaction, "_MOST", 100)
    secrets = known("a", "acme", *FILLING)
    assert secrets.out_of("a site acme") == "a site acme"
    assert len(secrets._count) == 100
    secrets.replace("settings", ["short-secret"])
    secrets.replace("settings", [])
    assert not secrets._grams


@given(st.text(min_size=6, max_size=60), st.text(), st.text(), st.booleans())
def test_any_known_secret_is_found_in_any_text(secret: str, before: str, after: str, many: bool) -> None:
    secrets = known(secret, *(FILLING if many else ()))
    assert secret not in secrets.out_of(f"{before}{secret}{after}").replace("[…]", "\0")


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (KeyError("Boiler, flat 3"), "KeyError: '…'"),
        (KeyError("subject"), "KeyError: 'subject'"),
        (ValueError("can't read 'Ann\\'s boiler' and \"it's cold\""), "ValueError: can't read '…' and \"…\""),
        (ValueError("value='+44 7700 900123', type=str"), "ValueError: value='…', type=str"),
        (
            AttributeError("'NoneType' object has no attribute 'x'"),
            "AttributeError: 'NoneType' object has no attribute 'x'",
        ),
        (ValueError("password=hunter2 of ann@acme.example"), "ValueError: password=[…] of [address]"),
        (RuntimeError(), "RuntimeError"),
        (ValueError("'a path\\' of ann"), "ValueError: '…'"),
        (ValueError("'no end: Boiler, flat 3"), "ValueError: '…'"),
    ],
)
def test_an_unexpected_error_is_shown_without_what_it_quotes(error: Exception, shown: str) -> None:
    assert error_text(error) == shown


def test_the_password_of_a_url_is_known_in_both_spellings() -> None:
    assert login_of("redis://user:p%40ss@host/0") == ["p%40ss", "user:p@ss"]
    assert login_of("redis://host/0") == login_of("http://[") == []


async def answer_of(path: str, metrics: Metrics, trouble: str) -> str:
    async def check() -> str | None:
        return trouble

    server = HealthServer("127.0.0.1:0", metrics.render, metrics.content_type, check, check)
    address = await server.start()
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"http://{address}/{path}")).text
    finally:
        await server.stop()


async def test_health_answers_hold_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "KNOWN", known("planted~secret-0123456789"))
    shown = await answer_of("readyz", Metrics(), "planted~secret-0123456789 of ann@acme.example")
    assert shown == "[…] of [address]\n"


def metrics_of(topic: str, site_id: str, code: str, status: str) -> Metrics:
    """Metrics with these labels from outside, in every series that has them."""
    site = Site(site_id, "Acme", "UTC", "tenant", "app", "secret", date(2027, 1, 1))
    metrics = Metrics(topic)
    metrics.sites({site_id: site})
    metrics.site_up(site_id, up=True)
    metrics.swept(site_id, 1.0)
    metrics.unsettled(site_id, 1)
    metrics.sweep_states({site_id: SweepState(1.0, 1, 1)})
    metrics.dirty({site_id: 1})
    metrics.site_waiting({site_id: 1})
    metrics.paused([site_id])
    metrics.parked([(Mailbox(site_id, "ann@acme.example"), Parking(code, hourly=False))])
    metrics.request("create", status)
    metrics.records_lost(1)
    metrics.blocked([0], [0])
    metrics.waiting([(0, "schema", 1.0)])
    metrics.lag({0: PartitionLag(records=1, committed=1, oldest=1.0)})
    return metrics


async def test_metrics_hold_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "KNOWN", known("planted~secret-0123456789"))
    planted = "planted~secret-0123456789 of ann@acme.example"
    metrics = metrics_of(f"topic {planted}", f"site {planted}", f"code {planted}", f"status {planted}")
    shown = await answer_of("metrics", metrics, "")
    assert "planted" not in shown
    assert "ann@" not in shown
    for label in ("topic", "site", "code", "status"):
        assert f'="{label} […] of [address]"' in shown
    metrics.sites({})
    assert "site […]" not in metrics.render().decode(), "the series of a site can be removed"


def test_a_secret_that_is_an_ordinary_word_leaves_the_metrics_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    names = re.findall(r"^# TYPE (\S+)", Metrics().render().decode(), re.MULTILINE)
    monkeypatch.setattr(redaction, "KNOWN", known("calsync", "events", "result", "schema", "create"))
    body = metrics_of("core.jobs", "acme", "ErrorAccessDenied", "503").render().decode()
    assert re.findall(r"^# TYPE (\S+)", body, re.MULTILINE) == names
    assert "[…]" not in body
