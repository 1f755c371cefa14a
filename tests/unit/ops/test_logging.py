"""Logs: no line contains a token, secret or address from any source."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.ops.logging import scrub

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJyb2xlcyI6W119.c2ln-X_"


def cleaned(value: Any, name: str = "event") -> Any:
    return scrub(None, "info", {name: value})[name]


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"got {TOKEN} back", "got [token] back"),
        ("Authorization: Bearer abc.DEF~g+h/i==", "Authorization: Bearer [token]"),
        (
            "grant_type=client_credentials&client_secret=a~b.c&scope=x",
            "grant_type=client_credentials&client_secret=[…]&scope=x",
        ),
        ('{"client_secret": "a,b c", "access_token":"x"}', '{"client_secret": […], "access_token":[…]}'),
        ("{'client_secret': 'a b', 'password': 'c'}", "{'client_secret': […], 'password': […]}"),
        ("sasl.password=abc", "sasl.password=[…]"),
        ("redis://user:pa55@redis:6379/0 is down", "redis://[…]@redis:6379/0 is down"),
        ("amqp://:pa55@host", "amqp://[…]@host"),
        ("mailbox acme/ann.o'neil+x@mail.acme.example is parked", "mailbox [address] is parked"),
        ("GET /users/ann%40acme.example/events", "GET [address]/events"),
        ("JÖRG@bücher.example", "[address]"),
        ("https://graph.microsoft.com/v1.0 answered 503", "https://graph.microsoft.com/v1.0 answered 503"),
        ("client_secret is missing", "client_secret is missing"),
        ("sweep of acme: 5 events at 09:00:00.5", "sweep of acme: 5 events at 09:00:00.5"),
    ],
)
def test_tokens_secrets_and_addresses_are_removed_from_a_text(text: str, clean: str) -> None:
    assert cleaned(text) == clean


@pytest.mark.parametrize("name", ["client_secret", "access_token", "refresh_token", "password", "Authorization"])
def test_a_value_under_a_secrets_name_is_removed_whole(name: str) -> None:
    assert cleaned("s3cret", name) == "[…]"
    assert cleaned({"body": {name: "s3cret"}}) == {"body": {name: "[…]"}}


def test_values_of_any_type_are_cleaned_at_any_depth() -> None:
    address = "ann@acme.example"
    assert cleaned([address, (address, 5)]) == ["[address]", ["[address]", 5]]
    assert cleaned({address: [address]}) == {"[address]": ["[address]"]}
    assert cleaned(ValueError(f"no mailbox {address}")) == "ValueError('no mailbox [address]')"
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


SCRIPT = """
import logging, sys, warnings
import structlog
from consumer.ops.logging import configure
warnings.simplefilter("error")
configure("info", sys.argv[1])
log = structlog.get_logger("x")
log.debug("too small to tell")
log.info("parked", mailbox="ann@acme.example", count=5)
try:
    raise ValueError("client_secret=s3cret of ann@acme.example")
except ValueError as error:
    log.exception("it failed", cause=error)
    logging.getLogger("library").exception("library failed for %s", "ann@acme.example")
logging.getLogger("httpx").info("GET /users/ann@acme.example")
"""


def lines(log_format: str) -> list[str]:
    """What a process writes to stderr, in a process of its own because logging is set up for the whole process."""
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, log_format], capture_output=True, check=True, encoding="utf-8", timeout=30
    )
    assert ran.stdout == ""
    assert "s3cret" not in ran.stderr
    assert "ann@" not in ran.stderr
    return ran.stderr.splitlines()


def test_json_logs_are_one_object_a_line_with_the_stack_in_it() -> None:
    parked, failed, library = (json.loads(line) for line in lines("json"))
    assert (parked["event"], parked["level"], parked["mailbox"], parked["count"]) == ("parked", "info", "[address]", 5)
    assert parked["timestamp"].endswith("Z")
    assert failed["level"] == "error"
    assert "ValueError: client_secret=[…] of [address]" in failed["exception"]
    assert library["event"] == "library failed for [address]"
    assert "Traceback" in library["exception"]


def test_text_logs_show_the_stack_too() -> None:
    text = "\n".join(lines("text"))
    assert "parked" in text
    assert text.count("Traceback") == 2
