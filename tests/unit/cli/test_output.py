"""What commands print: no secret in tables, documents and exit messages; addresses where they are asked for."""

import sys

import pytest
from rich.table import Table

from consumer.cli import console, entry
from consumer.domain.errors import ConfigurationError, CoreUnavailableError
from consumer.redaction import KNOWN

SECRET = "planted~client.secret-0123456789"
TEXT = f"ann@acme.example: {SECRET}, password=hunter2, Bearer abc.def"


@pytest.fixture(autouse=True)
def known() -> None:
    KNOWN.replace("a test", [SECRET])


def assert_clean(printed: str) -> None:
    assert "ann@acme.example" in printed
    assert not any(secret in printed for secret in (SECRET, "hunter2", "abc.def"))


def test_a_table_shows_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("reason")
    table.add_row(TEXT)
    console.output.print(table)
    assert_clean(capsys.readouterr().out)
    console.errors.print(TEXT)
    assert_clean(capsys.readouterr().err)


def test_a_document_shows_no_secret_and_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_document({"reason": TEXT})
    assert_clean(capsys.readouterr().out)


@pytest.mark.parametrize("error", [ConfigurationError([TEXT]), CoreUnavailableError(TEXT)])
def test_an_exit_message_shows_no_secret(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing() -> None:
        raise error

    monkeypatch.setattr(entry, "cli", failing)
    monkeypatch.setattr(sys, "argv", ["calsync"])
    with pytest.raises(SystemExit):
        entry.main()
    assert_clean(capsys.readouterr().err)


def test_an_unexpected_error_of_a_command_is_logged_without_what_it_quotes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[BaseException] = []

    def failing() -> None:
        raise KeyError("Boiler, flat 3")

    monkeypatch.setattr(entry, "cli", failing)
    monkeypatch.setattr(sys, "argv", ["calsync"])
    monkeypatch.setattr("consumer.ops.logging.unexpected", seen.append)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == entry.FAULT
    assert [type(error) for error in seen] == [KeyError]
    assert capsys.readouterr() == ("", "")
