"""The values of settings: those that people's tools write, and those that can never work."""

import codecs
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from consumer.domain.errors import ConfigurationError
from consumer.operator_text import clean, read_secret, read_text
from consumer.setting_values import bootstrap_servers, topic
from tests.unit.loaded_settings import SECRET, Load

AROUND = {
    "newline": ("", "\n"),
    "Windows newline": ("", "\r\n"),
    "spaces": ("  ", " "),
    "tab": ("\t", "\t"),
    "BOM": ("\ufeff", ""),
    "BOM and newline": ("\ufeff", "\r\n"),
    "no-break space": ("\xa0", "\xa0"),
    "a BOM between spaces": (" \ufeff ", " \ufeff\n"),
}


@pytest.mark.parametrize(("before", "after"), AROUND.values(), ids=AROUND)
def test_characters_that_tools_add_around_a_value_are_removed(
    settings: Load, environment: dict[str, str], before: str, after: str
) -> None:
    plain = environment | {
        "CALSYNC_SCHEMA_REGISTRY_URL": "http://registry:8081",
        "CALSYNC_SCHEMA_REGISTRY_USER_INFO": "user:s3cret",
        "CALSYNC_KAFKA_TOPIC": "jobs",
        "CALSYNC_WINDOW_DAYS": "7",
        "CALSYNC_SWEEP_INTERVAL_SECONDS": "60",
        "CALSYNC_LOG_LEVEL": "DEBUG",
        "CALSYNC_HTTP_BIND": "127.0.0.1:0",
        "CALSYNC_REDIS_PREFIX": "x:",
    }
    assert settings(**{name: before + value + after for name, value in plain.items()}) == settings(**plain)


@pytest.mark.parametrize("blank", [" ", "\n", "\ufeff", "\ufeff\r\n"])
def test_a_value_of_only_such_characters_is_an_unset_variable(settings: Load, blank: str) -> None:
    assert settings(CALSYNC_KAFKA_TOPIC=blank, CALSYNC_CA_FILE=blank).kafka_topic == "core.job-changed"
    with pytest.raises(ConfigurationError, match="CALSYNC_CORE_API_URL: is required"):
        settings(CALSYNC_CORE_API_URL=blank)


@pytest.mark.parametrize(
    ("servers", "taken"),
    [
        ("broker:9092", "broker:9092"),
        ("a:9092 , b:9093,,", "a:9092,b:9093"),
        ("broker", "broker"),
        ("[::1]:9092", "[::1]:9092"),
        ("SASL_SSL://a:9092,ssl://b", "SASL_SSL://a:9092,ssl://b"),
        ("kafka_1:9092", "kafka_1:9092"),
    ],
)
def test_usable_bootstrap_servers_are_accepted(servers: str, taken: str) -> None:
    assert bootstrap_servers(servers) == taken


@pytest.mark.parametrize(
    "servers",
    [
        ",",
        "http://broker:9092",
        "kafka://broker:9092",
        "broker:s3cret",
        "broker:0",
        "broker:65536",
        "broker:9092/topic",
        "broker 9092",
        "a:9092;b:9092",
        "a:9092 b:9092",
        ":9092",
        "user:s3cret@broker:9092",
        "::1:9092",
        "[::1:9092",
        "broker..example:9092",
        "<broker>:9092",
    ],
)
def test_bootstrap_servers_that_can_never_be_reached_are_refused(servers: str) -> None:
    with pytest.raises(ValueError, match=r"^must|^is|^the") as caught:
        bootstrap_servers(servers)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", [".", "..", "a b", "a/b", "a,b", "é", "a" * 250, "a:b", "*"])
def test_a_topic_that_kafka_refuses_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="topic's name"):
        topic(name)


def test_dead_letters_need_another_topic(settings: Load) -> None:
    with pytest.raises(ConfigurationError, match="CALSYNC_KAFKA_DLQ_TOPIC: must be another topic"):
        settings(CALSYNC_KAFKA_TOPIC="jobs", CALSYNC_KAFKA_DLQ_TOPIC="jobs")


TOKENS = {
    "newline inside": "s3cret\nX-Admin: 1",
    "carriage return inside": "s3cret\rx",
    "space inside": "s3cret x",
    "tab inside": "s3cret\tx",
    "scheme": "Bearer s3cret",
    "in quotes": '"s3cret"',
    "in single quotes": "'s3cret'",
    "beyond ASCII": "s3crét",
    "zero-width space": "s3cret\u200b",
    "BOM inside": "s3\ufeffcret",
    "delete": "s3cret\x7f",
    "C1 control": "s3cret\x85x",
}


@pytest.mark.parametrize("value", TOKENS.values(), ids=TOKENS)
@pytest.mark.parametrize("in_file", [True, False])
def test_a_token_that_no_header_can_carry_is_refused(settings: Load, tmp_path: Path, value: str, in_file: bool) -> None:
    (tmp_path / "token").write_text(value, encoding="utf-8", newline="")
    changes = {"CALSYNC_CORE_API_TOKEN": value}
    if in_file:
        changes = {"CALSYNC_CORE_API_TOKEN": "", "CALSYNC_CORE_API_TOKEN_FILE": str(tmp_path / "token")}
    with pytest.raises(ConfigurationError) as caught:
        settings(**changes)
    [problem] = caught.value.problems
    assert problem.startswith("CALSYNC_CORE_API_TOKEN_FILE: " if in_file else "CALSYNC_CORE_API_TOKEN: ")
    assert "s3c" not in problem


ENCODED = {
    "UTF-8": b"s3cret",
    "newline": b"s3cret\n",
    "UTF-8 with BOM": codecs.BOM_UTF8 + b"s3cret\r\n",
    "UTF-16, little": "\ufeffs3cret\r\n".encode("utf-16-le"),
    "UTF-16, big": "\ufeffs3cret".encode("utf-16-be"),
    "UTF-32": "s3cret\n".encode("utf-32"),
}


@pytest.mark.parametrize("data", ENCODED.values(), ids=ENCODED)
def test_a_secrets_file_is_read_as_editors_write_it(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "secret").write_bytes(data)
    assert read_secret(tmp_path / "secret") == SECRET


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, b"s3cret\nline 2", b"s3cret\x00", b"\xffs3cret", b"\xff\xfes"],
)
def test_a_secrets_file_of_anything_else_is_refused_without_its_contents(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "secret").write_bytes(data)
    with pytest.raises(ValueError, match=r"^is|^must") as caught:
        read_secret(tmp_path / "secret")
    assert SECRET not in str(caught.value)


@given(st.text())
def test_cleaning_removes_characters_only_at_the_ends_in_one_pass(text: str) -> None:
    cleaned = clean(text)
    assert cleaned in text
    assert clean(cleaned) == cleaned


def test_text_files_keep_their_lines(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(codecs.BOM_UTF8 + b"a\r\nb\n")
    assert read_text(tmp_path / "text") == "a\r\nb\n"


def test_a_rotated_token_is_in_use_at_once_and_the_last_good_one_is_kept(settings: Load, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret-1\n")
    found = settings(CALSYNC_CORE_API_TOKEN="", CALSYNC_CORE_API_TOKEN_FILE=str(file))
    assert found.core_token() == "s3cret-1"
    file.write_text("s3cret-2\n")
    assert found.core_token() == "s3cret-2"
    for contents in ("", "\n", "a\nb"):
        file.write_text(contents)
        assert found.core_token() == "s3cret-2"
    file.unlink()
    assert found.core_token() == "s3cret-2"
    (tmp_path / "new").write_text("\ufeffs3cret-3\r\n", encoding="utf-8")
    (tmp_path / "new").replace(file)
    assert found.core_token() == "s3cret-3"
    assert "s3cret" not in repr(found)


def test_a_token_behind_a_kubernetes_data_link_is_followed(settings: Load, tmp_path: Path) -> None:
    for version in ("1", "2"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "token").write_text(f"s3cret-{version}")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "token").symlink_to("..data/token")
    found = settings(CALSYNC_CORE_API_TOKEN="", CALSYNC_CORE_API_TOKEN_FILE=str(tmp_path / "token"))
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    assert found.core_token() == "s3cret-2"


def test_a_token_that_cannot_be_used_is_logged_once(
    settings: Load, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret")
    found = settings(CALSYNC_CORE_API_TOKEN="", CALSYNC_CORE_API_TOKEN_FILE=str(file))
    file.unlink()
    for _ in range(3):
        found.core_token()
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count("CALSYNC_CORE_API_TOKEN_FILE cannot be used") == 1


CERTIFICATE = trustme.CA().cert_pem.bytes()


AUTHORITIES = {
    "one": (CERTIFICATE, True),
    "two, with comments": (b"# ours\n" + CERTIFICATE + b"\n# theirs\n" + trustme.CA().cert_pem.bytes(), True),
    "BOM": (codecs.BOM_UTF8 + CERTIFICATE, True),
    "Windows newlines": (CERTIFICATE.replace(b"\n", b"\r\n"), True),
    "empty": (b"", False),
    "text": (b"s3cret", False),
    "cut short": (CERTIFICATE[: len(CERTIFICATE) // 2], False),
    "good, then garbage": (
        CERTIFICATE + b"-----BEGIN CERTIFICATE-----\ngarbage\n-----END CERTIFICATE-----\n",
        False,
    ),
    "good, then cut short": (CERTIFICATE + CERTIFICATE[:300], False),
    "a key": (trustme.CA().private_key_pem.bytes(), False),
    "UTF-16": (CERTIFICATE.decode().encode("utf-16"), False),
    "DER": (b"0\x82\x02\x0c0\x82\x01\xb2", False),
}


@pytest.mark.parametrize(("contents", "good"), AUTHORITIES.values(), ids=AUTHORITIES)
def test_every_certificate_of_a_ca_file_can_be_read(
    settings: Load, tmp_path: Path, contents: bytes, good: bool
) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(contents)
    if good:
        assert settings(CALSYNC_CA_FILE=str(file)).ca_file == file
    else:
        with pytest.raises(ConfigurationError, match="CALSYNC_CA_FILE: holds no certificate in PEM form"):
            settings(CALSYNC_CA_FILE=str(file))
