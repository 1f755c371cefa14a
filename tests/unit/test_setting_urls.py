"""URLs in settings: of Core, of the schema registries and of Redis. What no client can use is refused."""

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
from consumer.setting_values import redis_url, registry_urls, web_url
from consumer.store.store import RedisStore
from tests.unit.loaded_settings import SECRET, Load

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
