"""The sites file: checked whole, and its secrets never shown."""

import codecs
from datetime import date
from pathlib import Path

import pytest

from consumer.domain.errors import ConfigurationError
from consumer.sites import SitesFile, read


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


TWO = entry() + entry("beta")


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


def test_a_secret_may_be_in_a_file_beside(file: Path) -> None:
    (file.parent / "acme-secret").write_text("s3cret\n")
    file.write_text(entry(client_secret="", client_secret_file='"acme-secret"'))
    assert read(file)["acme"].client_secret == "s3cret"
    file.write_text(entry(client_secret="", client_secret_file=f'"{file.parent / "acme-secret"}"'))
    assert read(file)["acme"].client_secret == "s3cret"


def test_every_problem_of_every_site_is_reported_at_once_without_secrets(file: Path) -> None:
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
    reported = problems(file)
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
        assert sum(words in problem for problem in reported) == 1, words
    assert len(reported) == 14
    assert all(str(file) in problem for problem in reported)


@pytest.mark.parametrize("site_id", ["a", "0", "acme-2", "4-ever-"])
def test_an_id_is_small_letters_digits_and_hyphens(file: Path, site_id: str) -> None:
    file.write_text(entry(site_id))
    assert list(read(file)) == [site_id]


@pytest.mark.parametrize("site_id", ["Acme", "-acme", "a/b", "a b", "ä", "a_b", "a\\n"])
def test_another_id_is_refused(file: Path, site_id: str) -> None:
    file.write_text(entry(site_id))
    (reported,) = problems(file)
    assert "id must be" in reported


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
def test_a_file_without_sites_is_reported_without_its_contents(file: Path, contents: bytes) -> None:
    file.write_bytes(contents)
    (reported,) = problems(file)
    assert reported.startswith(f"CALSYNC_SITES_FILE: {file}: ")


def test_a_toml_error_is_reported_with_its_position(file: Path) -> None:
    file.write_text('[[site]]\nclient_secret = "s3cret" x\n')
    (reported,) = problems(file)
    assert "line 2" in reported


def test_a_missing_file_is_reported(file: Path) -> None:
    (reported,) = problems(file)
    assert str(file) in reported
    with pytest.raises(ConfigurationError):
        SitesFile(file).load()


@pytest.mark.parametrize(
    "data",
    [
        codecs.BOM_UTF8 + TWO.encode(),
        TWO.replace("\n", "\r\n").encode(),
        TWO.encode("utf-16"),
        ("\n\n" + TWO + "\n\n").encode(),
    ],
)
def test_a_file_is_read_as_editors_write_it(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    assert list(read(file)) == ["acme", "beta"]


def test_values_are_read_as_people_paste_them(file: Path) -> None:
    pasted = {
        key: f'" \\uFEFF{value}\\r\\n"'
        for key, value in {"name": "Acme", "timezone": "Europe/London", "tenant_id": "t", "client_id": "c"}.items()
    }
    file.write_text(entry(**pasted, client_secret='"s3cret\\n"'))
    site = read(file)["acme"]
    assert (site.name, site.timezone, site.tenant_id, site.client_id) == ("Acme", "Europe/London", "t", "c")
    assert site.client_secret == "s3cret"


@pytest.mark.parametrize(
    "data", [codecs.BOM_UTF8 + b"s3cret\r\n", "\ufeffs3cret\r\n".encode("utf-16-le"), b"s3cret\n\n"]
)
def test_a_secrets_file_is_read_as_editors_write_it(file: Path, data: bytes) -> None:
    (file.parent / "secret").write_bytes(data)
    file.write_text(entry(client_secret="", client_secret_file='"secret"'))
    assert read(file)["acme"].client_secret == "s3cret"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"client_secret": '"s3cret\\nx"'}, "client_secret must not hold control characters"),
        ({"client_id": '"s3cret x"'}, "client_id must not hold spaces"),
        ({"client_id": '"s3cret\\u0007"'}, "client_id must not hold control characters"),
        ({"tenant_id": '"s3cret/x"'}, "tenant_id is not an id or domain"),
        ({"tenant_id": '"s3cret?x=1"'}, "tenant_id is not an id or domain"),
        ({"tenant_id": '"https://login.microsoftonline.com/s3cret"'}, "tenant_id is not an id or domain"),
        ({"name": '"s3cret\\u0000"'}, "name must not hold control characters"),
    ],
)
def test_a_value_that_can_never_work_is_reported(file: Path, changes: dict[str, str], words: str) -> None:
    file.write_text(entry(**changes))
    (reported,) = problems(file)
    assert words in reported
