"""The values of settings: those that people's tools write, and those that can never work."""

import codecs
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import redis.asyncio
import trustme
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from consumer.domain.errors import ConfigurationError
from consumer.operator_text import clean, read_secret, read_text
from consumer.setting_values import bootstrap_servers, redis_url, registry_urls, topic, web_url
from consumer.settings import Settings, load
from consumer.store.store import RedisStore

Load = Callable[..., Settings]

SECRET = "s3cret"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    for name in list(os.environ):
        if name.upper().startswith("CALSYNC_"):
            monkeypatch.delenv(name)
    (tmp_path / "sites.toml").touch()
    return {
        "CALSYNC_KAFKA_BOOTSTRAP_SERVERS": "broker:9092",
        "CALSYNC_REDIS_URL": "redis://redis:6379/0",
        "CALSYNC_CORE_API_URL": "https://core.example",
        "CALSYNC_CORE_API_TOKEN": SECRET,
        "CALSYNC_SITES_FILE": str(tmp_path / "sites.toml"),
    }


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Load:
    def of(**changes: str) -> Settings:
        for name, value in (environment | changes).items():
            monkeypatch.setenv(name, value)
        return load()

    return of


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


WEB_URLS = {
    "plain": "http://core:8080",
    "path": "https://core.example/api/v2",
    "port": "https://core.example:65535",
    "IPv4": "http://10.0.0.1:80",
    "IPv6": "http://[2001:db8::1]:8080/x",
    "underscore": "http://core_api:8080",
    "final dot": "http://core.example.:80",
    "beyond ASCII": "https://bücher.example",
    "punycode": "https://xn--bcher-kva.example",
    "capitals": "HTTPS://Core.Example",
    "no port": "http://core:",
    "digits": "http://123abc.example",
    "escape": "http://core/a%20b",
}


@pytest.mark.parametrize("url", WEB_URLS.values(), ids=WEB_URLS)
def test_a_url_that_can_be_used_is_taken_and_the_client_can_use_it(url: str) -> None:
    assert web_url(url) == url
    assert httpx.URL(url + "/x").host


BAD_WEB_URLS = {
    "no scheme": "core.example",
    "another scheme": "ftp://core.example",
    "two in one": "http://a:8081,http://b:8081",
    "no host": "http://",
    "no host but a port": "http://:8080",
    "no host but a path": "http:///api",
    "space": "http://core .example",
    "space in the path": "http://core/a b",
    "tab": "http://core\t.example",
    "newline": "http://core\n.example",
    "backslash": "http:\\\\core.example",
    "port is not a number": "http://core:s3cret",
    "port 0": "http://core:0",
    "port too high": "http://core:65536",
    "two ports": "http://core:80:81",
    "user": "http://user@core.example",
    "user and password": "http://user:s3cret@core.example",
    "empty user": "http://@core.example",
    "query": "http://core.example/?a=s3cret",
    "empty query": "http://core.example/?",
    "fragment": "http://core.example/#s3cret",
    "empty label": "http://core..example",
    "first dot": "http://.core.example",
    "hyphen in front": "http://-core.example",
    "label too long": f"http://{'a' * 64}.example",
    "name too long": f"http://{'a.' * 127}example",
    "IPv4 too high": "http://10.0.0.256",
    "IPv4 too short": "http://10.0.1",
    "IPv6 without brackets": "http://2001:db8::1",
    "IPv6 that is none": "http://[2001:db8::g]",
    "IPv6 with an interface": "http://[fe80::1%25eth0]",
    "bracket left open": "http://[::1",
    "brackets around a name": "http://[core]",
    "IDNA": "http://☃️\u200d.example",
    "compatibility character": "https://s3cret℀.example",
    "percent in the host": "http://core%2eexample",
    "placeholder": "http://${CORE_HOST}:8080",
    "angle brackets": "https://<core>",
    "quoted": '"http://core"',
}


@pytest.mark.parametrize("url", BAD_WEB_URLS.values(), ids=BAD_WEB_URLS)
def test_a_url_that_can_never_work_is_refused_without_its_value(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|is|the) ") as caught:
        web_url(url)
    assert SECRET not in str(caught.value)


@given(st.text() | st.text(alphabet="htp:/[]@.?#%a1 \\é"))
def test_any_text_is_a_usable_url_or_refused(value: str) -> None:
    for url in (value, f"http://{value}"):
        try:
            taken = web_url(url)
        except ValueError:
            continue
        assert httpx.URL(taken).host


def test_several_registries_are_tried_in_their_order(settings: Load) -> None:
    found = settings(CALSYNC_SCHEMA_REGISTRY_URL=" http://b:8081/ , https://a.example/x,,http://b:8081,")
    assert found.schema_registry_urls() == ["http://b:8081", "https://a.example/x"]
    assert settings(CALSYNC_SCHEMA_REGISTRY_URL="").schema_registry_urls() == []


@pytest.mark.parametrize("urls", [",", " , ", "http://a,b:8081", "http://a http://b", "http://a;http://b"])
def test_a_list_with_an_invalid_url_is_refused(urls: str) -> None:
    with pytest.raises(ValueError, match=r"^must|^is|^the"):
        registry_urls(urls)


def test_a_password_in_a_registrys_url_is_refused_with_where_it_belongs() -> None:
    with pytest.raises(ValueError, match="CALSYNC_SCHEMA_REGISTRY_USER_INFO") as caught:
        registry_urls("http://a:8081,http://user:s3cret@b:8081")
    assert SECRET not in str(caught.value)


REDIS_URLS = {
    "host": "redis://redis",
    "slash": "redis://redis/",
    "port and database": "redis://redis:6379/15",
    "password": "redis://:s3cret@redis:6379/0",
    "user": "rediss://user:s3cret@redis.example:6380/1",
    "password, encoded": "redis://:a%23%2F%3F%40%25@redis",
    "password with @": "redis://:a@b@redis",
    "password with :": "redis://u:a:b@redis",
    "IPv6": "redis://[::1]:6379/0",
    "options": "redis://redis?db=3&protocol=3",
    "TLS options": "rediss://redis/0?ssl_cert_reqs=required&ssl_check_hostname=false",
    "socket": "unix:///run/redis.sock",
    "socket with a password": "unix://:s3cret@/run/redis.sock?db=2",
    "capitals": "REDIS://redis:6379",
}


def connection_of(url: str) -> Any:
    """The client's connection for a URL, not connected yet; raises if the URL is invalid."""
    pool: Any = redis.asyncio.Redis.from_url(url).connection_pool
    return pool.make_connection()


@pytest.mark.parametrize("url", REDIS_URLS.values(), ids=REDIS_URLS)
def test_a_redis_url_that_can_be_used_is_taken_and_the_client_can_use_it(url: str) -> None:
    assert redis_url(url) == url
    connection_of(url)
    RedisStore.connect(url, "x:", clock=None, ca_file=Path("/ca.pem"))  # type: ignore[arg-type]


BAD_REDIS_URLS = {
    "no scheme": "redis:6379",
    "another scheme": "http://:s3cret@redis",
    "several hosts": "redis://a:6379,b:6379",
    "no host": "redis://",
    "no host but a database": "redis:///0",
    "no host but a port": "redis://:6379",
    "password with #": "redis://:s3cret#1@redis:6379/0",
    "password with /": "redis://:s3cret/1@redis:6379/0",
    "password with ?": "redis://:s3cret?1@redis:6379/0",
    "password with [": "redis://:s3cret[1@redis:6379/0",
    "password with a space": "redis://:s3cret 1@redis:6379/0",
    "password with \\": "redis://:s3cret\\1@redis:6379/0",
    "password that begins with #": "redis://:#s3cret@redis:6379/0",
    "password that begins with /": "redis://:/s3cret@redis:6379/0",
    "password with # behind a port": "redis://user:1#s3cret@redis:6379/0",
    "password with @ and #": "redis://:a@s3cret#1@redis:6379/0",
    "password without @": "redis://redis:s3cret",
    "port is not a number": "redis://redis:s3cret/0",
    "port 0": "redis://redis:0",
    "port too high": "redis://redis:65536",
    "negative port": "redis://redis:-1",
    "database is not a number": "redis://redis/s3cret",
    "database negative": "redis://redis/-1",
    "two databases": "redis://redis/1/2",
    "unknown option": "redis://redis/0?s3cret=1",
    "option without value": "redis://redis/0?s3cret",
    "option twice as text": "redis://redis/0?db=s3cret",
    "TLS option without TLS": "redis://redis/0?ssl_cert_reqs=none",
    "TLS option that is none": "rediss://redis/0?ssl_cert_reqs=s3cret",
    "protocol that is none": "redis://redis/0?protocol=s3cret",
    "fragment": "redis://redis/0#s3cret",
    "host that is none": "redis://-redis-:6379",
    "socket without path": "unix://",
    "socket of a host": "unix://host/run/redis.sock",
    "socket too long": "unix:///" + "a" * 200,
    "cluster": "redis-cluster://redis",
    "bracket left open": "redis://[s3cret",
}


@pytest.mark.parametrize("url", BAD_REDIS_URLS.values(), ids=BAD_REDIS_URLS)
def test_a_redis_url_that_can_never_work_is_refused_without_its_value(settings: Load, url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings(CALSYNC_REDIS_URL=url)
    [problem] = caught.value.problems
    assert problem.startswith("CALSYNC_REDIS_URL: ")
    assert SECRET not in problem
    if "password with" in next(name for name, bad in BAD_REDIS_URLS.items() if bad == url):
        assert "percent-encode special characters in the password" in problem


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with certificates and keys, good and bad."""
    folder = tmp_path_factory.mktemp("pem s3cret")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued = authority.issue_cert("calsync")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    authority.issue_cert("other").private_key_pem.write_to_path(folder / "other.pem")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(SECRET.encode()),
    )
    (folder / "encrypted.pem").write_bytes(encrypted)
    (folder / "junk.pem").write_text("s3cret")
    return folder


@pytest.mark.parametrize(
    "options",
    ["ssl_ca_certs=ca.pem", "ssl_certfile=cert.pem&ssl_keyfile=key.pem", "ssl_certfile=both.pem"],
)
def test_files_named_in_a_redis_url_that_can_be_used_are_taken_and_the_client_can_use_them(
    settings: Load, pem: Path, options: str
) -> None:
    url = "rediss://redis/0?" + options.replace("=", f"={quote(str(pem))}/")
    assert settings(CALSYNC_REDIS_URL=url).redis_url.get_secret_value() == url
    connection = connection_of(url)
    assert connection.ssl_context.get()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("ssl_ca_certs=absent.pem", "ssl_ca_certs: no such file"),
        ("ssl_ca_certs=junk.pem", "ssl_ca_certs: holds no certificate"),
        ("ssl_ca_certs=key.pem", "ssl_ca_certs: holds no certificate"),
        ("ssl_ca_certs=", "ssl_ca_certs: "),
        ("ssl_certfile=absent.pem", "ssl_certfile: no such file"),
        ("ssl_certfile=absent.pem&ssl_keyfile=key.pem", "ssl_certfile: no such file"),
        ("ssl_certfile=cert.pem&ssl_keyfile=absent.pem", "ssl_keyfile: no such file"),
        ("ssl_certfile=cert.pem", "name it with ssl_keyfile"),
        ("ssl_keyfile=key.pem", "ssl_keyfile needs ssl_certfile"),
        ("ssl_certfile=junk.pem&ssl_keyfile=key.pem", "ssl_certfile and ssl_keyfile"),
        ("ssl_certfile=cert.pem&ssl_keyfile=junk.pem", "ssl_certfile and ssl_keyfile"),
        ("ssl_certfile=cert.pem&ssl_keyfile=other.pem", "the key is not the certificate's"),
        ("ssl_certfile=cert.pem&ssl_keyfile=encrypted.pem", "without a passphrase"),
        ("ssl_ca_certs=ca.pem&ssl_ca_certs=absent.pem", "given twice"),
    ],
)
def test_files_named_in_a_redis_url_that_can_never_be_used_are_refused(
    settings: Load, pem: Path, options: str, named: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings(CALSYNC_REDIS_URL="rediss://:s3cret@redis/0?" + options.replace("=", f"={quote(str(pem))}/"))
    [problem] = caught.value.problems
    assert problem.startswith("CALSYNC_REDIS_URL: ")
    assert named in problem
    assert SECRET not in problem


@given(st.text(alphabet="rediss:/[]@.?#%a1 \\é&=0"))
def test_any_text_is_a_usable_redis_url_or_refused(value: str) -> None:
    for url in (value, f"redis://{value}", f"rediss://{value}", f"unix://{value}", f"redis://:{value}@redis"):
        try:
            taken = redis_url(url)
        except ValueError:
            continue
        connection_of(taken)


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
