"""HTTPS connections: which authorities are trusted, through which proxy, and what a failure reports."""

import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consumer import tls
from consumer.http import Http, NoAnswerError
from consumer.proxies import Proxies
from tests.forward_proxy import forward_proxy

HOST = "graph.internal"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
async def server(authority: trustme.CA) -> AsyncIterator[int]:
    """The port of a server with a certificate for ``HOST``."""
    async for port in serve(authority, HOST, "127.0.0.1"):
        yield port


async def serve(authority: trustme.CA, *names: str) -> AsyncIterator[int]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    async for port in serve_with(context):
        yield port


async def serve_with(context: ssl.SSLContext) -> AsyncIterator[int]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="ok", headers={"X-Method": request.method})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def ask(url: str, ca_file: Path | None, environment: dict[str, str] | None = None) -> bytes:
    client = Http(ca_file=ca_file, timeout=5, proxies=Proxies(environment or {}))
    try:
        return (await client.request("POST", url, body=b"{}")).body
    finally:
        await client.close()


async def refused(url: str, ca_file: Path | None, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(NoAnswerError) as error:
        await ask(url, ca_file, environment)
    assert not error.value.sent, "the request cannot have arrived"
    return str(error.value)


async def test_the_file_of_an_authority_is_trusted(server: int, ca_file: Path) -> None:
    assert await ask(f"https://127.0.0.1:{server}/", ca_file) == b"ok"


async def test_a_refused_certificate_is_reported_with_openssls_reason_host_and_variable(server: int) -> None:
    said = await refused(f"https://127.0.0.1:{server}/secret-path?token=x", None)
    assert f"127.0.0.1:{server}" in said
    assert "CALSYNC_CA_FILE" in said
    assert "unable to get local issuer certificate" in said or "self-signed certificate" in said
    assert "secret-path" not in said


async def test_a_certificate_for_another_host_is_refused_and_the_reason_says_so(
    authority: trustme.CA, ca_file: Path
) -> None:
    async for port in serve(authority, "elsewhere.example"):
        assert "mismatch" in await refused(f"https://127.0.0.1:{port}/", ca_file)


async def test_a_server_without_tls_is_reported_with_its_host(ca_file: Path) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    said = await refused(f"https://127.0.0.1:{port}/", ca_file)
    await runner.cleanup()
    assert f"127.0.0.1:{port}" in said
    assert "TLS" in said


async def test_https_goes_through_the_proxy_with_its_login_and_the_private_authority(
    server: int, ca_file: Path
) -> None:
    async with forward_proxy(login="me:hunter2") as proxy:
        assert await ask(f"https://{HOST}:{server}/", ca_file, {"HTTPS_PROXY": proxy.url}) == b"ok"
    assert proxy.asked == [f"CONNECT {HOST}:{server}"]


async def test_plain_http_goes_through_http_proxy() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.host} {request.headers.get('Proxy-Authorization')}")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    async with forward_proxy(login="me:hunter2") as proxy:
        url = f"http://core.internal:{port}/jobs?x=1"
        assert await ask(url, None, {"HTTP_PROXY": proxy.url}) == f"core.internal:{port} None".encode()
    await runner.cleanup()
    assert proxy.asked == [f"POST http://core.internal:{port}/jobs?x=1"]


async def test_no_proxy_and_loopback_are_asked_directly(server: int, ca_file: Path) -> None:
    async with forward_proxy(refusal=503) as proxy:
        assert await ask(f"https://127.0.0.1:{server}/", ca_file, {"HTTPS_PROXY": proxy.url}) == b"ok"
    assert proxy.asked == []


@pytest.mark.parametrize(("status", "hint"), [(407, "login"), (503, "HTTP 503")])
async def test_a_proxy_that_refuses_is_named_without_its_password(
    server: int, ca_file: Path, status: int, hint: str
) -> None:
    async with forward_proxy(login="me:hunter2", refusal=status) as proxy:
        said = await refused(f"https://{HOST}:{server}/", ca_file, {"HTTPS_PROXY": proxy.url})
    assert f"the proxy 127.0.0.1:{proxy.port} (HTTPS_PROXY)" in said
    assert HOST in said
    assert hint in said
    assert "hunter2" not in said


async def test_an_unreachable_proxy_is_named(ca_file: Path) -> None:
    async with forward_proxy() as proxy:
        pass
    said = await refused(f"https://{HOST}:1/", ca_file, {"HTTPS_PROXY": proxy.url})
    assert f"127.0.0.1:{proxy.port} (HTTPS_PROXY)" in said


async def test_a_certificate_behind_a_proxy_is_refused_in_the_same_words(server: int) -> None:
    async with forward_proxy() as proxy:
        said = await refused(f"https://{HOST}:{server}/", None, {"HTTPS_PROXY": proxy.url})
    assert "certificate" in said
    assert f"{HOST}:{server}" in said
    assert "CALSYNC_CA_FILE" in said


def old_authority() -> tuple[bytes, ssl.SSLContext]:
    """An authority as companies made them for years, its certificate as PEM; and a server with a certificate of it.

    Its basicConstraints are not critical, and it has no key usage and no key identifiers.
    """
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Company Root")])
    common = (
        x509.CertificateBuilder()
        .issuer_name(name)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    ca = (
        common.subject_name(name)
        .public_key(ca_key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    leaf = (
        common.subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST), x509.DNSName("localhost")]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.LeafCert(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        leaf.public_bytes(serialization.Encoding.PEM),
        [],
    ).configure_cert(context)
    return ca.public_bytes(serialization.Encoding.PEM), context


async def test_an_authority_that_strict_verification_refuses_is_trusted_if_the_operator_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ssl.create_default_context

    def of_python_3_13(*arguments: object, **options: object) -> ssl.SSLContext:
        made = original(*arguments, **options)  # type: ignore[arg-type]
        made.verify_flags |= ssl.VERIFY_X509_STRICT
        return made

    pem, context = old_authority()
    path = tmp_path / "old.pem"
    path.write_bytes(pem)
    monkeypatch.setattr(ssl, "create_default_context", of_python_3_13)
    assert not tls.context(path).verify_flags & ssl.VERIFY_X509_STRICT
    assert tls.context(None).verify_flags & ssl.VERIFY_X509_STRICT, "the system's authorities keep the default"
    async for port in serve_with(context):
        assert await ask(f"https://localhost:{port}/", path) == b"ok"
