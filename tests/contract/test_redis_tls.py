"""rediss://: whose certificate is trusted, with CALSYNC_CA_FILE and without it."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from consumer.clock import SystemClock
from consumer.domain.errors import ConfigurationError, StoreUnavailableError
from consumer.store.store import RedisStore
from tests.tls_proxy import tls_in_front_of


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(tmp_path: Path, authority: trustme.CA) -> Path:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


async def answers(port: int, ca_file: Path | None, options: str = "") -> bool:
    store = RedisStore.connect(f"rediss://localhost:{port}/0{options}", "tls:", SystemClock(), ca_file=ca_file)
    try:
        await store.time()
    except StoreUnavailableError:
        return False
    finally:
        await store.close()
    return True


async def test_a_private_ca_is_trusted_if_it_is_named(valkey_url: str, authority: trustme.CA, ca_file: Path) -> None:
    async with tls_in_front_of(urlsplit(valkey_url).port or 0, authority) as port:
        assert await answers(port, ca_file)
        assert not await answers(port, None)


async def test_another_ca_or_another_host_name_is_not_trusted(
    valkey_url: str, authority: trustme.CA, ca_file: Path
) -> None:
    behind = urlsplit(valkey_url).port or 0
    async with tls_in_front_of(behind, trustme.CA()) as port:
        assert not await answers(port, ca_file)
        assert await answers(port, ca_file, "?ssl_cert_reqs=none"), "as the URL says"
    async with tls_in_front_of(behind, authority, "redis.example") as port:
        assert not await answers(port, ca_file)


async def test_a_redis_without_tls_needs_no_ca(valkey_url: str, ca_file: Path) -> None:
    store = RedisStore.connect(valkey_url, "tls:", SystemClock(), ca_file=ca_file)
    assert await store.time() > 0
    await store.close()


def test_unusable_url_options_are_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="CALSYNC_REDIS_URL") as caught:
        RedisStore.connect("redis://localhost/0?s3cret=1", "x:", SystemClock())
    assert "s3cret" not in str(caught.value)
