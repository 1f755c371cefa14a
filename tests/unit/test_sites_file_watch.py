"""The sites file while the service runs: what changed is served, and a broken file changes nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

import consumer.sites
from consumer.sites import STEADY_LOOKS, Sites, SitesFile
from tests.unit.test_sites_file import TWO, entry


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sites.toml"


class Watch:
    """A running watch: its reports, in order."""

    def __init__(self) -> None:
        self._told: asyncio.Queue[Sites] = asyncio.Queue()

    def changed(self, sites: Sites) -> None:
        self._told.put_nowait(sites)

    async def next(self) -> Sites:
        async with asyncio.timeout(5):
            return await self._told.get()

    @property
    def quiet(self) -> bool:
        return self._told.empty()


Watching = Callable[[Path], Watch]


@pytest.fixture
async def watching(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watching]:
    """Starts to watch a file that has been loaded, and checks it often."""
    monkeypatch.setattr(consumer.sites, "LOOK_SECONDS", 0.005)
    tasks = []

    def start(file: Path) -> Watch:
        watch, sites_file = Watch(), SitesFile(file)
        sites_file.load()
        tasks.append(asyncio.create_task(sites_file.watch(watch.changed)))
        return watch

    yield start
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def replace(file: Path, text: str) -> None:
    """Change a file in one step, as editors and Kubernetes do."""
    new = file.with_name(file.name + ".new")
    new.write_text(text)
    new.replace(file)


async def test_a_changed_file_is_read_again(file: Path, watching: Watching) -> None:
    replace(file, entry())
    watch = watching(file)
    replace(file, entry(client_secret='"s3cret-2"') + entry("beta"))
    sites = await watch.next()
    assert sites["acme"].client_secret == "s3cret-2"
    assert "beta" in sites
    assert watch.quiet


async def test_a_kubernetes_swap_of_the_data_link_is_seen(tmp_path: Path, watching: Watching) -> None:
    for version in ("1", "2"):
        folder = tmp_path / f"..{version}"
        folder.mkdir()
        (folder / "sites.toml").write_text(entry(client_secret="", client_secret_file='"secret"'))
        (folder / "secret").write_text(f"s3cret-{version}")
    (tmp_path / "..data").symlink_to("..1")
    for name in ("sites.toml", "secret"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    watch = watching(tmp_path / "sites.toml")
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    assert (await watch.next())["acme"].client_secret == "s3cret-2"


async def test_a_changed_secret_file_of_any_site_is_seen(file: Path, watching: Watching) -> None:
    secret = file.parent / "secret"
    replace(secret, "s3cret-1")
    replace(file, entry() + entry("beta", client_secret="", client_secret_file='"secret"'))
    watch = watching(file)
    replace(secret, "s3cret-2")
    assert (await watch.next())["beta"].client_secret == "s3cret-2"


class ReportedErrors:
    """Stands in for the log: the problems reported, in order."""

    def __init__(self) -> None:
        self.errors: asyncio.Queue[list[str]] = asyncio.Queue()

    def error(self, _event: str, *, problems: list[str]) -> None:
        self.errors.put_nowait(problems)

    def info(self, _event: str, **_: object) -> None:
        pass


@pytest.mark.parametrize("bad", [entry(timezone='"Nowhere/Never"'), "s3cret", "x = " + "[" * 100_000])
async def test_an_unusable_file_is_reported_once_and_the_last_good_one_kept(
    file: Path, watching: Watching, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    reported = ReportedErrors()
    monkeypatch.setattr(consumer.sites, "log", reported)
    replace(file, entry())
    watch = watching(file)
    replace(file, bad)
    async with asyncio.timeout(5):
        (problem,) = await reported.errors.get()
    assert "s3cret" not in problem
    replace(file, entry(name='"New"'))
    assert (await watch.next())["acme"].name == "New"
    assert reported.errors.empty()
    assert watch.quiet


def write(file: Path, text: str | None) -> None:
    """Changes a file in place, so that it may be read half-written; ``None`` deletes it."""
    if text is None:
        file.unlink()
    else:
        file.write_text(text)


class Looks:
    """Lets a watch check the file a given number of times, without a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._turns: asyncio.Queue[None] = asyncio.Queue()
        self._done: asyncio.Queue[None] = asyncio.Queue()
        self._begun = False
        patched = SimpleNamespace(sleep=self._sleep, wrap_future=asyncio.wrap_future)
        monkeypatch.setattr(consumer.sites, "asyncio", patched)

    async def _sleep(self, _seconds: float) -> None:
        if self._begun:
            self._done.put_nowait(None)
        self._begun = True
        await self._turns.get()

    async def look(self, times: int = 1) -> None:
        for _ in range(times):
            self._turns.put_nowait(None)
            await self._done.get()


Stepwise = Callable[[], tuple[list[Sites], Looks, ReportedErrors]]


@pytest.fixture
async def stepwise(monkeypatch: pytest.MonkeyPatch, file: Path) -> AsyncIterator[Stepwise]:
    """Starts to watch the file; returns its reports, and how to make it check."""
    tasks = []
    reported = ReportedErrors()

    def start() -> tuple[list[Sites], Looks, ReportedErrors]:
        taken: list[Sites] = []
        looks, sites_file = Looks(monkeypatch), SitesFile(file)
        monkeypatch.setattr(consumer.sites, "log", reported)
        sites_file.load()
        tasks.append(asyncio.ensure_future(sites_file.watch(taken.append)))
        return taken, looks, reported

    yield start
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_file_read_while_half_written_loses_no_site_and_takes_new_ones_at_once(
    file: Path, stepwise: Stepwise
) -> None:
    write(file, TWO)
    taken, looks, reported = stepwise()
    write(file, entry(client_secret='"s3cret-2"'))
    await looks.look()
    assert {site: each.client_secret for site, each in taken[-1].items()} == {"acme": "s3cret-2", "beta": "s3cret"}
    await looks.look(3)
    write(file, entry(client_secret='"s3cret-2"') + entry("beta", name='"New"') + entry("gamma"))
    await looks.look()
    assert {site: each.name for site, each in taken[-1].items()} == {
        "acme": "Acme Inspections",
        "beta": "New",
        "gamma": "Acme Inspections",
    }
    await looks.look(2 * STEADY_LOOKS)
    assert len(taken) == 2
    assert reported.errors.empty()


@pytest.mark.parametrize("half", ["", "[[site]]\n", TWO[:40], TWO[:-30], "s3cret", "site = []"])
async def test_an_unusable_file_for_a_moment_changes_nothing(file: Path, stepwise: Stepwise, half: str) -> None:
    write(file, TWO)
    taken, looks, reported = stepwise()
    write(file, half)
    await looks.look(STEADY_LOOKS)
    readable = half == "site = []"
    assert [set(sites) for sites in taken] == [{"acme", "beta"}] * readable, "no site is dropped at once"
    write(file, TWO)
    await looks.look(2 * STEADY_LOOKS)
    assert all(sites.keys() == {"acme", "beta"} for sites in taken)
    assert reported.errors.empty(), "it was repaired before an operator had to know"


async def test_a_missing_or_locked_file_for_a_moment_changes_nothing(
    file: Path, stepwise: Stepwise, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(file, TWO)
    taken, looks, reported = stepwise()
    write(file, None)
    await looks.look(STEADY_LOOKS)
    write(file, TWO)
    await looks.look()
    with monkeypatch.context() as patch:

        def refuse(_path: Path) -> bytes:
            raise PermissionError(13, "Permission denied")

        patch.setattr(Path, "read_bytes", refuse)
        await looks.look(STEADY_LOOKS)
    await looks.look(2 * STEADY_LOOKS)
    assert all(sites.keys() == {"acme", "beta"} for sites in taken)
    assert reported.errors.empty()


async def test_a_site_missing_from_the_file_is_removed_after_ten_checks(file: Path, stepwise: Stepwise) -> None:
    write(file, TWO)
    taken, looks, _ = stepwise()
    replace(file, entry("beta"))
    await looks.look(STEADY_LOOKS)
    assert taken[-1].keys() == {"acme", "beta"}
    await looks.look()
    assert taken[-1].keys() == {"beta"}
    reported = len(taken)
    await looks.look(2 * STEADY_LOOKS)
    assert len(taken) == reported
    replace(file, TWO)
    await looks.look()
    assert taken[-1].keys() == {"acme", "beta"}, "a site that comes back is taken at once"


@pytest.mark.parametrize("bad", ["", "s3cret", None])
async def test_a_file_that_stays_unusable_is_reported_once(file: Path, stepwise: Stepwise, bad: str | None) -> None:
    write(file, TWO)
    taken, looks, reported = stepwise()
    write(file, bad)
    await looks.look(5 * STEADY_LOOKS)
    assert taken == []
    assert reported.errors.qsize() == 1
    assert "s3cret" not in str(reported.errors.get_nowait())


async def test_a_changed_comment_retries_the_sites_at_once(file: Path, stepwise: Stepwise) -> None:
    write(file, TWO)
    taken, looks, _ = stepwise()
    write(file, f"# consented\n{TWO}")
    await looks.look()
    assert [sites.keys() for sites in taken] == [{"acme", "beta"}]
