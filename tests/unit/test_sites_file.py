"""The sites file: checked whole, read again when it changes, the last good one kept, no secret ever told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import date
from pathlib import Path

import pytest

import consumer.sites
from consumer.domain.errors import ConfigurationError
from consumer.sites import Sites, SitesFile, read


def entry(site_id: str = "acme", **changes: str) -> str:
    """A [[site]] table; values are TOML, an empty one leaves its key out."""
    keys = {
        "id": f'"{site_id}"',
        "name": '"Acme Inspections"',
        "timezone": '"Europe/London"',
        "tenant_id": '"tenant"',
        "client_id": '"client"',
        "client_secret": '"s3cret"',
    } | changes
    return "[[site]]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items() if value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sites.toml"


def problems(file: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(file)
    assert "s3cret" not in str(caught.value)
    return caught.value.problems


def test_a_file_holds_sites_by_their_ids(file: Path) -> None:
    file.write_text(entry() + entry("beta", client_secret_expires="2027-03-31", timezone='"America/New_York"'))
    sites = SitesFile(file).load()
    assert list(sites) == ["acme", "beta"]
    assert (sites["acme"].name, sites["acme"].timezone) == ("Acme Inspections", "Europe/London")
    assert (sites["acme"].tenant_id, sites["acme"].client_id) == ("tenant", "client")
    assert sites["acme"].client_secret == "s3cret"
    assert sites["acme"].client_secret_expires is None
    assert sites["beta"].client_secret_expires == date(2027, 3, 31)
    assert "s3cret" not in repr(sites)


def test_a_secret_may_stand_in_a_file_beside(file: Path) -> None:
    (file.parent / "acme-secret").write_text("s3cret\n")
    file.write_text(entry(client_secret="", client_secret_file='"acme-secret"'))
    assert read(file)["acme"].client_secret == "s3cret"
    file.write_text(entry(client_secret="", client_secret_file=f'"{file.parent / "acme-secret"}"'))
    assert read(file)["acme"].client_secret == "s3cret"


def test_every_problem_of_every_site_is_told_at_once_and_no_secret(file: Path) -> None:
    (file.parent / "empty").touch()
    file.write_text(
        'owner = "me"\n'
        + entry("Bad_Id", timezone='"Nowhere/Never"', name='" "', tenant_id="5")
        + entry("beta", client_secret="", client_secret_expires='"2027-03-31"')
        + entry("gamma", client_secret_file='"s3cret"')
        + entry("delta", client_secret="", client_secret_file='"nowhere"')
        + entry("epsilon", client_secret="", client_secret_file='"empty"', client_secert='"s3cret"')
        + entry("zeta")
        + entry("zeta")
        + entry("eta", id="")
        + entry("theta", client_secret="", client_secret_file='"a\\u0000b"')
    )
    told = problems(file)
    for words in (
        "unknown key 'owner'",
        "'Bad_Id': id must be",
        "'Bad_Id': timezone",
        "'Bad_Id': name is missing",
        "'Bad_Id': tenant_id is missing",
        "'beta': must have one of client_secret and client_secret_file",
        "'beta': client_secret_expires",
        "'gamma': must have one of client_secret and client_secret_file",
        "'delta': client_secret_file cannot be read",
        "'epsilon': client_secret_file is empty",
        "'epsilon': unknown key 'client_secert'",
        "'zeta': the id stands twice",
        "'number 8': id is missing",
        "'theta': client_secret_file cannot be read",
    ):
        assert sum(words in problem for problem in told) == 1, words
    assert len(told) == 14
    assert all(str(file) in problem for problem in told)


@pytest.mark.parametrize("site_id", ["a", "0", "acme-2", "4-ever-"])
def test_an_id_is_small_letters_digits_and_hyphens(file: Path, site_id: str) -> None:
    file.write_text(entry(site_id))
    assert list(read(file)) == [site_id]


@pytest.mark.parametrize("site_id", ["Acme", "-acme", "a/b", "a b", "ä", "a_b", "a\\n"])
def test_another_id_is_refused(file: Path, site_id: str) -> None:
    file.write_text(entry(site_id))
    (told,) = problems(file)
    assert "id must be" in told


@pytest.mark.parametrize(
    "contents",
    [
        b'[[site]]\nid = "acme"\nclient_secret = "s3cret\n',
        b"client_secret = s3cret\n",
        b'client_secret = "s3cret"\nclient_secret = "s3cret"\n',
        b"s3cret",
        b"\xffs3cret",
        b"x = " + b"[" * 100_000,
        b"x = " + b"9" * 5_000,
        b"",
        b"site = 5",
        b"site = [1]",
        b'[site]\nclient_secret = "s3cret"',
    ],
)
def test_a_file_that_holds_no_sites_is_told_without_its_contents(file: Path, contents: bytes) -> None:
    file.write_bytes(contents)
    (told,) = problems(file)
    assert told.startswith(f"CALSYNC_SITES_FILE: {file}: ")


def test_a_fault_of_toml_is_told_with_its_place(file: Path) -> None:
    file.write_text('[[site]]\nclient_secret = "s3cret" x\n')
    (told,) = problems(file)
    assert "line 2" in told


def test_a_file_that_is_not_there_is_told(file: Path) -> None:
    (told,) = problems(file)
    assert str(file) in told
    with pytest.raises(ConfigurationError):
        SitesFile(file).load()


class Watch:
    """A watch in progress: what it tells, in order."""

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


@pytest.fixture
async def watching(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator:
    """Starts to watch a file that has been loaded, looking often."""
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


async def test_a_changed_file_is_read_again(file: Path, watching) -> None:
    replace(file, entry())
    watch = watching(file)
    replace(file, entry(client_secret='"s3cret-2"') + entry("beta"))
    sites = await watch.next()
    assert sites["acme"].client_secret == "s3cret-2"
    assert "beta" in sites
    assert watch.quiet


async def test_a_kubernetes_swap_of_the_data_link_is_seen(tmp_path: Path, watching) -> None:
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


async def test_a_changed_secret_file_is_seen_whichever_site_names_it(file: Path, watching) -> None:
    secret = file.parent / "secret"
    replace(secret, "s3cret-1")
    replace(file, entry() + entry("beta", client_secret="", client_secret_file='"secret"'))
    watch = watching(file)
    replace(secret, "s3cret-2")
    assert (await watch.next())["beta"].client_secret == "s3cret-2"


class Told:
    """Stands in for the log: what it is told, in order."""

    def __init__(self) -> None:
        self.errors: asyncio.Queue[list[str]] = asyncio.Queue()

    def error(self, _event: str, *, problems: list[str]) -> None:
        self.errors.put_nowait(problems)

    def info(self, _event: str, **_: object) -> None:
        pass


@pytest.mark.parametrize("bad", [entry(timezone='"Nowhere/Never"'), "s3cret", "x = " + "[" * 100_000])
async def test_a_file_that_cannot_be_used_is_told_once_and_the_last_good_one_kept(
    file: Path, watching, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    told = Told()
    monkeypatch.setattr(consumer.sites, "log", told)
    replace(file, entry())
    watch = watching(file)
    replace(file, bad)
    async with asyncio.timeout(5):
        (problem,) = await told.errors.get()
    assert "s3cret" not in problem
    replace(file, entry(name='"New"'))
    assert (await watch.next())["acme"].name == "New"
    assert told.errors.empty()
    assert watch.quiet
