"""One process serves five hundred tenants with little memory, and few threads and open files."""

from pathlib import Path
from time import monotonic
from uuid import uuid4

import pytest

from tests.company import found_company
from tests.warm import Warm


async def test_five_hundred_tenants_are_served_by_one_process(
    tmp_path: Path, broker: str, warm: Warm, valkey_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with found_company(
        tmp_path,
        broker,
        valkey_url,
        name=f"tenants-{uuid4().hex[:8]}",
        site_ids=tuple(f"site-{number}" for number in range(1, 501)),
        kafka_properties={"fetch.wait.max.ms": "10"},
        warm=warm,
    ) as company:
        changes = company.generate(workers=1, jobs=1)
        await company.open_mailboxes()
        await company.give_core_the_schedule()
        company.publish(changes)
        started = monotonic()
        service = await company.start()
        ready = monotonic() - started
        await company.consumed()
        await company.judge()
        assert len(await company.ours()) > 400
        process = Path(f"/proc/{service.process.pid}")
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        memory, threads = int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"])
        files = len(list((process / "fd").iterdir()))
        with capsys.disabled():
            print(
                f"\n500 tenants: ready after {ready:.1f} s, all served after {monotonic() - started:.1f} s; "
                f"{memory:.0f} MiB, {threads} threads, {files} open files"
            )
        assert memory < 250
        assert threads < 64
        assert files < 256
