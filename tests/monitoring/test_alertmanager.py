"""The Alertmanager example: who gets which alert, and which alerts hold back others."""

import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.monitoring.rules_file import ROOT, Rule, rules

CONFIG: Final = ROOT / "monitoring" / "alertmanager.yaml"
DOCUMENT: Final[dict[str, Any]] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
ALERTS: Final = {rule.name: rule for rule in rules() if rule.alerts}
RECEIVERS: Final = {"page": "pager", "ticket": "tickets", "none": "dead-mans-switch"}
LAG: Final = {"ConsumerStuck", "TooOld", "OneReplicaBehind", "FallingBehind"}
OBJECTIVES: Final = {"ChangesLate", "ChangesLateSlow", "SweepsLate", "SweepsLateSlow"}
SWEEPS: Final = {"SweepStale", "SweepsLate", "SweepsLateSlow"}
CONSEQUENCES: Final[dict[str, set[str]]] = {
    "NoReplica": {name.removeprefix("Calsync") for name in ALERTS} - {"NoReplica", "Watchdog"},
    "KafkaUnavailable": {*LAG, *OBJECTIVES, "PartitionWaits", "FeedDead"},
    "RedisUnavailable": {*LAG, *OBJECTIVES, *SWEEPS, "PartitionWaits"},
    "RedisRefusesWrites": {*LAG, *OBJECTIVES, *SWEEPS, "PartitionWaits"},
    "GraphUnavailable": {*(LAG - {"FallingBehind"}), *OBJECTIVES, *SWEEPS, "WorkHandedOver", "SiteDown"},
    "ForeignAnswers/graph": {*LAG, *OBJECTIVES, *SWEEPS, "GraphUnavailable", "GraphThrottled", "SiteDown"}
    | {"MailboxesUnavailable", "WorkHandedOver"},
    "ForeignAnswers/core": {*SWEEPS, "CoreUnavailable", "WorkHandedOver"},
    "ForeignAnswers/registry": {*LAG, "PartitionWaits", "ChangesLate", "ChangesLateSlow"},
    "CoreUnavailable": SWEEPS,
    "OneReplicaBehind": {"ConsumerStuck", "TooOld"},
    "PartitionBlocked": {"ConsumerStuck", "TooOld", "OneReplicaBehind", "DeadLetters"},
    "PartitionWaits": {"ConsumerStuck", "TooOld", "OneReplicaBehind"},
    "DeletionsHeld": SWEEPS,
    "SiteDown": {"SweepStale", "ClientSecretExpiring", "ClientSecretExpiresSoon", "WorkHandedOver"},
    "ClientSecretExpiresSoon": {"ClientSecretExpiring"},
    "ClientSecretExpired": {"SiteDown", "ClientSecretExpiring", "ClientSecretExpiresSoon"},
}
CONSEQUENCES["ForeignAnswers/entra"] = CONSEQUENCES["ForeignAnswers/graph"]
SITE: Final = {"DeletionsHeld", "SiteDown", "ClientSecretExpiresSoon", "ClientSecretExpired"}


def _matches(matchers: list[str], labels: dict[str, str]) -> bool:
    """Whether Alertmanager's matchers, all of them, fit the labels."""
    for matcher in matchers:
        found = re.fullmatch(r'(\w+)(=~|!~|!=|=)"(.*)"', matcher)
        assert found, matcher
        name, operator, wanted = found.groups()
        value = labels.get(name, "")
        fits = bool(re.fullmatch(wanted, value)) if "~" in operator else value == wanted
        if fits == operator.startswith("!"):
            return False
    return True


def _labels(name: str, part: str = "") -> dict[str, str]:
    labels = {"alertname": f"Calsync{name}", **ALERTS[f"Calsync{name}"].labels}
    return {**labels, "part": part} if part else labels


def _held_back(name: str, part: str = "") -> dict[str, list[list[str]]]:
    """The alerts that this one holds back, each with the labels that must be equal, of each rule."""
    held: dict[str, list[list[str]]] = {}
    for rule in DOCUMENT["inhibit_rules"]:
        if _matches(rule["source_matchers"], _labels(name, part)):
            for alert in ALERTS:
                if _matches(rule["target_matchers"], _labels(alert.removeprefix("Calsync"))):
                    held.setdefault(alert.removeprefix("Calsync"), []).append(rule["equal"])
    return held


def test_amtool_accepts_the_example(amtool: Path) -> None:
    subprocess.run([amtool, "check-config", CONFIG], check=True, capture_output=True)


def test_promtool_accepts_prometheus_example(promtool: Path) -> None:
    subprocess.run(
        [promtool, "check", "config", ROOT / "monitoring" / "prometheus.yaml"], check=True, capture_output=True
    )


@pytest.mark.parametrize("alert", ALERTS.values(), ids=lambda rule: rule.name)
def test_each_severity_has_its_receiver(amtool: Path, alert: Rule) -> None:
    labels = [f"{name}={value}" for name, value in {**alert.labels, "alertname": alert.name}.items()]
    command = [str(amtool), "config", "routes", "test", f"--config.file={CONFIG}", *labels]
    routed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    assert routed == RECEIVERS[alert.labels["severity"]]


def test_a_fault_of_many_sites_is_one_notification() -> None:
    assert DOCUMENT["route"]["group_by"] == ["alertname"]
    assert all("group_by" not in route for route in DOCUMENT["route"]["routes"])


@pytest.mark.parametrize("cause", sorted(CONSEQUENCES))
def test_a_cause_holds_back_its_consequences_and_nothing_else(cause: str) -> None:
    name, _, part = cause.partition("/")
    held = _held_back(name, part)
    assert set(held) == CONSEQUENCES[cause]
    for target, rules_of_target in held.items():
        for equal in rules_of_target:
            assert equal[0] == "cluster"
            if name in SITE:
                assert equal == ["cluster", "site"]
            elif name in {"PartitionBlocked", "PartitionWaits"} and target in {"ConsumerStuck", "TooOld"}:
                assert equal == ["cluster", "topic", "partition"]


def test_no_other_alert_holds_anything_back() -> None:
    causes = {cause.partition("/")[0] for cause in CONSEQUENCES}
    for alert in ALERTS:
        name = alert.removeprefix("Calsync")
        assert name in causes or not _held_back(name), name


def test_no_alert_holds_back_itself_even_through_others() -> None:
    parts = {"ForeignAnswers": ("core", "registry", "graph", "entra")}
    names = [alert.removeprefix("Calsync") for alert in ALERTS]
    direct = {name: set().union(*(_held_back(name, part) for part in parts.get(name, ("",)))) for name in names}
    for name in names:
        reached: set[str] = set()
        waiting = list(direct[name])
        while waiting:
            target = waiting.pop()
            if target not in reached:
                reached.add(target)
                waiting.extend(direct[target])
        assert name not in reached


def test_matchers_name_only_alerts_that_exist() -> None:
    text = CONFIG.read_text(encoding="utf-8")
    for prefix, options in re.findall(r"alertname=~\"(\w+)\(([^)]*)\)\"", text):
        assert {f"{prefix}{option}" for option in options.split("|")} <= set(ALERTS)
    assert set(re.findall(r'alertname="(\w+)"', text)) <= set(ALERTS)
