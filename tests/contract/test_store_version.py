"""The version of the data in Redis: written at the first use, and a newer one is refused."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from consumer.clock import SystemClock
from consumer.domain.errors import ConfigurationError
from consumer.store.store import RedisStore
from consumer.store.version import FORMAT
from sandbox.servers.embedded import embedded_valkey
from tests.company import eventually
from tests.contract.store_steps import ANNA, APP
from tests.unit.test_bad_configuration import SITE
from tests.warm import Warm

REFUSAL = f"Redis holds data of version {FORMAT + 1}, this release reads up to {FORMAT}: "


async def test_the_first_use_names_the_version(valkey_url: str) -> None:
    prefix = f"{uuid4()}:"
    store = RedisStore.connect(valkey_url, prefix, SystemClock())
    await store.time()
    async with Redis.from_url(valkey_url) as redis:
        assert await redis.get(f"{prefix}version") == str(FORMAT).encode()
    await store.close()


async def test_data_without_a_version_are_of_version_one_and_are_named_so(valkey_url: str) -> None:
    prefix = f"{uuid4()}:"
    async with Redis.from_url(valkey_url) as redis:
        await redis.hset(f"{prefix}paused", "acme", "1000.0")
        store = RedisStore.connect(valkey_url, prefix, SystemClock())
        assert await store.paused() == {"acme": 1000.0}
        assert await redis.get(f"{prefix}version") == b"1"
    await store.close()


async def test_a_store_that_is_emptied_under_a_connection_gets_its_version_again(valkey_url: str) -> None:
    prefix = f"{uuid4()}:"
    store = RedisStore.connect(valkey_url, prefix, SystemClock())
    await store.begin(ANNA, APP, "t", [])
    async with Redis.from_url(valkey_url) as redis:
        await redis.delete(*[key async for key in redis.scan_iter(f"{prefix}*")])
        await store.begin(ANNA, APP, "t", [])
        assert await redis.get(f"{prefix}version") == str(FORMAT).encode()
    await store.close()


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("version", [str(FORMAT + 1), "two"])
async def test_data_of_a_newer_version_are_refused(valkey_url: str, version: str, *, read_only: bool) -> None:
    prefix = f"{uuid4()}:"
    async with Redis.from_url(valkey_url) as redis:
        await redis.set(f"{prefix}version", version)
        store = RedisStore.connect(valkey_url, prefix, SystemClock(), read_only=read_only)
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=f"^Redis holds data of version {version}, this release reads"):
                await store.time()
        await redis.set(f"{prefix}version", FORMAT)
        assert await store.time() > 0
        await redis.delete(f"{prefix}version")
    await store.close()


async def test_a_dry_run_does_not_name_the_version(valkey_url: str) -> None:
    prefix = f"{uuid4()}:"
    store = RedisStore.connect(valkey_url, prefix, SystemClock(), read_only=True)
    await store.time()
    async with Redis.from_url(valkey_url) as redis:
        assert await redis.get(f"{prefix}version") is None
    await store.close()


async def test_a_redis_user_without_the_right_to_info_is_refused_newer_data_too(valkey_url: str) -> None:
    user, prefix = f"u{uuid4().hex}", f"{uuid4()}:"
    async with Redis.from_url(valkey_url) as redis:
        await redis.acl_setuser(
            user, enabled=True, passwords=["+secret"], keys=["*"], categories=["+@all", "-@dangerous"]
        )
        await redis.set(f"{prefix}version", FORMAT + 1)
        store = RedisStore.connect(valkey_url.replace("://", f"://{user}:secret@"), prefix, SystemClock())
        with pytest.raises(ConfigurationError, match=REFUSAL):
            await store.check()
        await store.close()
        await redis.acl_deluser(user)


def environment(url: str, prefix: str, folder: Path) -> dict[str, str]:
    """Settings with this Redis alone: the other servers are unreachable."""
    (folder / "sites.toml").write_text(SITE)
    return {
        "PATH": "/usr/bin",
        "CALSYNC_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "CALSYNC_REDIS_URL": url,
        "CALSYNC_REDIS_PREFIX": prefix,
        "CALSYNC_CORE_API_URL": "http://127.0.0.1:1",
        "CALSYNC_CORE_API_TOKEN": "s3cret",
        "CALSYNC_GRAPH_URL": "http://127.0.0.1:1",
        "CALSYNC_ENTRA_URL": "http://127.0.0.1:1",
        "CALSYNC_SITES_FILE": str(folder / "sites.toml"),
        "CALSYNC_HTTP_BIND": "127.0.0.1:0",
        "CALSYNC_LOG_LEVEL": "error",
    }


@pytest.mark.parametrize("command", [["run"], ["site", "list"], ["sweep"], ["mailbox", "list"]])
async def test_commands_end_with_exit_code_two_on_newer_data(
    warm: Warm, valkey_url: str, tmp_path: Path, command: list[str]
) -> None:
    prefix = f"{uuid4()}:"
    async with Redis.from_url(valkey_url) as redis:
        await redis.set(f"{prefix}version", FORMAT + 1)
    done = await asyncio.to_thread(warm.run, command, environment(valkey_url, prefix, tmp_path))
    assert f"calsync: {REFUSAL}" in done.output
    assert "Traceback" not in done.output
    assert done.returncode == 2


async def test_the_service_ends_when_a_newer_release_has_changed_the_data(warm: Warm, tmp_path: Path) -> None:
    """The service notices it on its next connection."""
    with embedded_valkey(tmp_path) as server:
        running = asyncio.create_task(asyncio.to_thread(warm.run, ["run"], environment(server.url, "p:", tmp_path)))
        async with Redis.from_url(server.url) as redis:

            async def looked() -> bool:
                return bool(await redis.exists("p:born"))

            await eventually(looked, "the service has looked at the store")
            await redis.set("p:version", FORMAT + 1)
            await redis.client_kill_filter(_type="normal", skipme=True)
        done = await running
    assert f"calsync: {REFUSAL}" in done.output
    assert done.returncode == 2
