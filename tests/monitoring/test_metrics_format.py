"""The metrics are as Prometheus wants them: names, units, help."""

import subprocess
from pathlib import Path

from consumer.domain.site import Site
from consumer.ops.metrics import Metrics
from consumer.sync.partition_lag import PartitionLag
from consumer.sync.sweep_state import SweepState


def test_promtool_has_nothing_to_say_about_the_metrics(promtool: Path) -> None:
    metrics = Metrics("core.job-changed")
    metrics.sites({"acme": Site("acme", "Acme", "UTC", "tenant", "app", "secret")})
    metrics.lag({0: PartitionLag(5, 40)})
    metrics.blocked([0], [0])
    metrics.waiting([(0, "schema", 5.0)])
    metrics.sweep_states({"acme": SweepState(1790000000.0, 0, 0)})
    metrics.swept("acme", 1.0)
    metrics.repaired("acme", "edited", 1)
    metrics.exchange("batch", 0.1)
    checked = subprocess.run([promtool, "check", "metrics"], input=metrics.render(), capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
