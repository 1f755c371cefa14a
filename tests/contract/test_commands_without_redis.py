"""One-shot commands while Redis refuses writes: exit 1, the variable's name and a hint, and no traceback."""

import http.server
import json
import shutil
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
import typer

from consumer.cli.redis_hint import redis_hint
from consumer.cli.sweep import report_sweeps
from consumer.sync.report import Report
from sandbox.servers.embedded import embedded_valkey
from sandbox.servers.redis import RedisServer
from tests.company import eventually
from tests.unit.test_bad_configuration import SITE
from tests.warm import Warm

READING = {
    "sites": ["site", "list"],
    "mailboxes": ["mailbox", "list"],
}
WRITING = {
    "sweep": ["sweep"],
    "sweep of a mailbox": ["sweep", "--mailbox", "ann@acme.example", "--site", "acme"],
    "park": ["mailbox", "park", "ben@acme.example"],
    "enable": ["mailbox", "enable", "zoe@acme.example"],
    "pause": ["site", "pause", "acme"],
    "replay": ["replay", "--from", "1h"],
    "replay of dead letters": ["dead-letters", "replay"],
}


class Core(http.server.BaseHTTPRequestHandler):
    """One worker without a job."""

    def do_GET(self) -> None:
        page = {"workers": [{"worker_id": "w", "calendar_email": "ann@acme.example", "jobs": []}], "next_cursor": None}
        body = json.dumps(page).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


@pytest.fixture(scope="module")
def core_url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Core) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@dataclass
class Servers:
    """A server that is known to the service, and another one."""

    ours: RedisServer
    other: RedisServer
    folder: Path

    def client(self) -> "redis.Redis":
        return redis.Redis(port=self.ours.port)

    async def become_a_replica(self) -> None:
        with self.client() as client:
            client.replicaof("127.0.0.1", self.other.port)

    async def be_full(self) -> None:
        with self.client() as client:
            client.config_set("maxmemory", "1")

    async def lack_replicas(self) -> None:
        with self.client() as client:
            client.config_set("min-replicas-to-write", "1")

    async def lose_its_volume(self) -> None:
        with self.client() as client:
            client.config_set("save", "900 1")
            shutil.rmtree(self.folder)
            client.bgsave()

            async def failed() -> bool:
                return bool(client.info("persistence")["rdb_last_bgsave_status"] == "err")

            await eventually(failed, "the snapshot failed")

    async def stop(self) -> None:
        self.ours.stop()


REFUSALS: dict[str, tuple[Callable[[Servers], Awaitable[None]], str]] = {
    "replica": (Servers.become_a_replica, "the server that takes writes"),
    "full": (Servers.be_full, "raise maxmemory"),
    "too few replicas": (Servers.lack_replicas, "min-replicas-to-write"),
    "cannot save": (Servers.lose_its_volume, "see its log"),
    "stopped": (Servers.stop, "that the server runs"),
}


@pytest.mark.parametrize(("refuse", "hint"), REFUSALS.values(), ids=REFUSALS)
async def test_a_redis_that_refuses_writes_is_named_with_a_hint(
    warm: Warm, core_url: str, tmp_path: Path, refuse: Callable[[Servers], Awaitable[None]], hint: str
) -> None:
    (tmp_path / "sites.toml").write_text(SITE)
    for name in ("ours", "other"):
        (tmp_path / name).mkdir()
    with embedded_valkey(tmp_path / "ours") as ours, embedded_valkey(tmp_path / "other") as other:
        environment = {
            "PATH": "/usr/bin",
            "CALSYNC_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
            "CALSYNC_REDIS_URL": ours.url,
            "CALSYNC_CORE_API_URL": core_url,
            "CALSYNC_CORE_API_TOKEN": "s3cret",
            "CALSYNC_GRAPH_URL": "http://127.0.0.1:1",
            "CALSYNC_ENTRA_URL": "http://127.0.0.1:1",
            "CALSYNC_SITES_FILE": str(tmp_path / "sites.toml"),
            "CALSYNC_LOG_LEVEL": "error",
        }
        # From here on the server is known, so that connecting to it writes nothing.
        assert warm.run(["mailbox", "park", "zoe@acme.example"], environment).returncode == 0
        await refuse(Servers(ours, other, tmp_path / "ours"))
        for arguments in WRITING.values():
            done = warm.run(arguments, environment)
            assert done.returncode == 1, (arguments, done.output)
            lines = [line for line in done.output.splitlines() if line.startswith("calsync: CALSYNC_REDIS_URL: ")]
            assert len(lines) == 1, (arguments, done.output)
            assert hint in lines[0], arguments
            assert "Traceback" not in done.output
        for arguments in READING.values():
            done = warm.run(arguments, environment)
            assert done.returncode in (0, 1), (arguments, done.output)
            assert "Traceback" not in done.output
            assert done.returncode == 0 or hint in done.output, (arguments, done.output)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_dry_run_without_a_lease_names_redis_too(capsys: pytest.CaptureFixture[str], *, as_json: bool) -> None:
    """A dry run writes nothing that would fail early, so its sweep meets the error mailbox by mailbox."""
    failure = "no mailbox could be read: Redis: command not allowed when used memory > 'maxmemory'."
    reports = [Report("acme", failure=failure), Report("globex", failure=failure), Report("other", failure="paused")]
    with pytest.raises(typer.Exit) as ended:
        report_sweeps(reports, planned=[], as_json=as_json)
    assert ended.value.exit_code == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("calsync: CALSYNC_REDIS_URL: Redis: command not allowed")
    assert "raise maxmemory" in line


@pytest.mark.parametrize(
    ("reason", "hint"),
    [
        ("Redis: You can't write against a read only replica.", "takes writes"),
        ("Redis: Valkey is loading the dataset in memory", "try again"),
        ("Redis: invalid username-password pair or user is disabled.", "login"),
        ("Redis: Authentication required.", "login"),
        ("Redis: this user has no permissions to run the 'set' command", "login"),
        ("Redis: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "CALSYNC_CA_FILE"),
        ("Redis: Error 111 connecting to 127.0.0.1:1. Connection refused.", "address"),
    ],
)
def test_each_refusal_has_a_hint(reason: str, hint: str) -> None:
    assert hint in redis_hint(reason)
