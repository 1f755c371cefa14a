"""The control endpoints and the process."""

import asyncio
import signal
import ssl
import sys
from asyncio.subprocess import Process
from pathlib import Path

import httpx
import pytest
import trustme

from sandbox.control import GraphControl
from sandbox.graph.entra import REFUSALS
from sandbox.graph.fault_kinds import OPERATIONS, REDIRECTS, SILENT, SPOKEN
from sandbox.graph.recording import Recording, Request
from sandbox.graph.switches import Switches
from sandbox.graph.users import ACTIONS
from sandbox.graph.world import MAILBOX_STATES
from tests.unit.sandbox.graph.client import MakeEvent, Outlook

ANN = "ann@acme.example"


async def test_switches_have_a_meaning_and_refuse_wrong_values(outlook: Outlook) -> None:
    switches = await outlook.control.switches()
    assert all(each["meaning"] for each in switches.values())
    for values in ({"colour": 1}, {"latency_ms": "slow"}, {"body_style": "loud"}, {"page_size": -1}):
        with pytest.raises(httpx.HTTPStatusError, match="400"):
            await outlook.control.set_switches(**values)
    assert await outlook.control.switches() == switches


async def test_many_mailboxes_at_once(outlook: Outlook) -> None:
    await outlook.control.add_many_mailboxes("t2", "w{n}@x.example", 300, time_zone="Tokyo Standard Time")
    mailboxes = (await outlook.control.tenants())["t2"]["mailboxes"]
    assert len(mailboxes) == 300
    assert mailboxes["w300@x.example"]["time_zone"] == "Tokyo Standard Time"


async def test_requests_are_counted_and_logged(outlook: Outlook) -> None:
    await outlook.control.reset_stats()
    await outlook.create()
    await outlook.view()
    await outlook.create({"colour": "red"})
    stats = await outlook.control.stats()
    assert stats["requests"] == {"create": {"201": 1, "400": 1}, "view": {"200": 1}}
    assert stats["max_in_flight"] == 1
    log = await outlook.control.log()
    assert [(each["method"], each["operation"], each["status"]) for each in log] == [
        ("POST", "create", 201),
        ("GET", "view", 200),
        ("POST", "create", 400),
    ]
    assert {each["mailbox"] for each in log} == {ANN}


async def test_a_recording_keeps_whole_requests_without_secrets(outlook: Outlook, make_event: MakeEvent) -> None:
    await outlook.create()
    await outlook.control.record(on=True)
    await outlook.create(make_event(subject="kept"), prefer='IdType="ImmutableId"')
    await outlook.batch({"id": "1", "method": "GET", "url": f"/users/{ANN}/events"})
    used = outlook.token
    await outlook.log_in()
    single, batch, login = await outlook.control.recording()
    assert (single["service"], single["method"], single["path"]) == ("graph", "POST", f"/users/{ANN}/events")
    assert single["origin"] == outlook.url
    assert single["headers"]["prefer"] == 'IdType="ImmutableId"'
    assert single["headers"]["authorization"] == "Bearer"
    assert single["body"]["subject"] == "kept"
    assert batch["body"]["requests"][0]["method"] == "GET"
    assert (login["service"], login["body"]["grant_type"]) == ("entra", "client_credentials")
    kept = str(await outlook.control.recording())
    assert not any(secret in kept for secret in (used, outlook.token, "s3cret"))
    await outlook.control.record(on=False)
    await outlook.create()
    assert len(await outlook.control.recording()) == 3
    await outlook.control.record(on=True)
    assert await outlook.control.recording() == []


def test_a_recording_keeps_only_the_last_requests() -> None:
    recording = Recording()
    recording.start()
    for number in range(40):
        recording.add(Request("graph", "", "POST", f"/{number}", "", {}, b"x" * 2**20))
    kept = [each["path"] for each in recording.documents()]
    assert kept[-1] == "/39"
    assert 20 < len(kept) < 33


async def test_wrong_control_requests(outlook: Outlook) -> None:
    http = outlook.http
    assert (await http.put("/_sandbox/switches", content=b"{")).status_code == 400
    assert (await http.put("/_sandbox/tenants/t/apps/a", json={"colour": 1})).status_code == 400
    assert (await http.put("/_sandbox/tenants/t/mailboxes/m", json={"state": "sad"})).status_code == 400
    assert (await http.post("/_sandbox/user-actions", json={"action": "dance"})).status_code == 400
    assert (await http.get("/_sandbox/events?mailbox=nobody@x.example")).status_code == 404
    assert (await http.delete("/_sandbox/faults/f9")).status_code == 404


async def started(*options: str) -> tuple[Process, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandbox.graph", *options, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    line = await asyncio.wait_for(process.stdout.readline(), 20)
    assert line.startswith(b"listening ")
    return process, line.split()[1].decode()


async def stopped(process: Process) -> None:
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_the_process_ends_at_sigterm_even_while_answers_are_held() -> None:
    process, url = await started("--latency-ms", "1")
    async with GraphControl(url) as control, httpx.AsyncClient(base_url=url) as http:
        assert (await control.switches())["latency_ms"]["value"] == 1
        hold = await control.set_fault("hold", operation="openid", hold_seconds=600)
        await control.add_tenant("t")
        held = asyncio.create_task(http.get("/t/v2.0/.well-known/openid-configuration", timeout=20))
        await control.wait_for_fault(hold)
        await stopped(process)
        assert (await held).status_code == 200


async def test_the_process_serves_https(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    process, url = await started("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    async with GraphControl(url, verify=trusted) as control:
        assert url.startswith("https://127.0.0.1:")
        assert await control.events() == {}
    await stopped(process)


def test_the_documentation_names_everything() -> None:
    text = (Path(__file__).parents[4] / "docs" / "sandbox-graph.md").read_text("utf-8")
    names = [*Switches().describe(), *SPOKEN, *SILENT, *REDIRECTS, *REFUSALS, *OPERATIONS, *MAILBOX_STATES, *ACTIONS]
    assert [name for name in names if f"`{name}`" not in text] == []
