"""Scaling by queue depth: the figures that KEDA gets, the workers that it asks for, and the connections that they need."""

from __future__ import annotations

import math
import re
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from deploy import facts
from deploy.programs import find
from services.contracts import topology
from services.transaction import monitor
from services.transaction.queue_zone import BUSY_FROM
from tests.deploy.k8s import production_builds
from tests.deploy.k8s.production_builds import K8S, Resource

PROMTOOL = find("promtool", hint="run `make engines`")
MINUTES = 4
TRIGGERS = ("prometheus", "postgresql")
RESERVED = 3 + 2 * 5 + 10
"""Connections of superusers (PostgreSQL reserves 3), of the logins for scaling and for metrics (5 each), and of the operator."""


def resources(trigger: str) -> tuple[Resource, ...]:
    """A build with this trigger."""
    return production_builds.production() if trigger == "prometheus" else production_builds.base_with("keda-postgresql")


def scaled_object(trigger: str) -> Resource:
    """The specification of the ScaledObject with this trigger."""
    (found,) = [each for each in resources(trigger) if each["kind"] == "ScaledObject"]
    specification: Resource = found["spec"]
    return specification


def query() -> str:
    """The query to Prometheus."""
    text: str = scaled_object("prometheus")["triggers"][0]["metadata"]["query"]
    return text


def target(trigger: str) -> float:
    """Transfers per worker."""
    metadata = scaled_object(trigger)["triggers"][0]["metadata"]
    return float(metadata["threshold"] if trigger == "prometheus" else metadata["targetQueryValue"])


def workers(trigger: str, depth: float) -> int:
    """What the autoscaler asks for: it rounds up, and KEDA bounds it (a metric of the type AverageValue, the default)."""
    specification = scaled_object(trigger)
    wanted = math.ceil(depth / target(trigger))
    return min(max(wanted, specification["minReplicaCount"]), specification["maxReplicaCount"])


@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize(("depth", "wanted"), [(0, 2), (40, 2), (120, 3), (300, 6), (10_000, 8)])
def test_workers_follow_the_depth_in_transfers(trigger: str, depth: int, wanted: int) -> None:
    """Guarantee 64: with 40, 120 and 300 transfers the autoscaler asks for 2, 3 and 6 workers; never for fewer than 2."""
    assert target(trigger) == BUSY_FROM
    assert workers(trigger, depth) == wanted


@pytest.mark.parametrize("depth", [40, 120, 300])
def test_query_yields_the_depth(tmp_path: Path, depth: int) -> None:
    """Guarantee 64: Prometheus evaluates the query to the depth, not to the sum of what several relays report."""
    series = [relay_series("relay-1", f"{depth}x{MINUTES}"), relay_series("relay-2", f"{depth}x{MINUTES}")]
    check_query(tmp_path, series, [{"labels": "{}", "value": depth}])


def test_dead_exporter_is_not_zero(tmp_path: Path) -> None:
    """Guarantee 64: once no relay can be scraped, the result is empty, which is an error to KEDA, and not zero."""
    check_query(tmp_path, [relay_series("relay-1", f"300 {'stale ' * MINUTES}")], [])
    metadata = scaled_object("prometheus")["triggers"][0]["metadata"]
    assert metadata["ignoreNullValues"] == "false"


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_unknown_depth_never_removes_workers(trigger: str) -> None:
    """Guarantee 64: when the depth stays unknown, KEDA falls back to all workers; a lower number could remove busy ones."""
    specification = scaled_object(trigger)
    assert specification["fallback"]["replicas"] == specification["maxReplicaCount"]


def test_query_names_what_the_relay_exports() -> None:
    """The metric and the queue in the query are those of the code."""
    aggregate: Any = promql_parser.parse(query())
    selector = aggregate.expr
    matchers = {matcher.name: matcher.value for matcher in selector.matchers.matchers}
    assert selector.name == next(iter(monitor.QUEUE_TRANSFERS.describe())).name
    assert matchers == {"queue": topology.REQUESTED_QUEUE.name, "namespace": "payflow"}


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_replicas_are_left_to_the_autoscaler(trigger: str) -> None:
    """A Deployment that an autoscaler scales states no replicas: applying the manifests again would undo its work."""
    built = resources(trigger)
    targets = {each["spec"]["scaleTargetRef"]["name"] for each in built if "scaleTargetRef" in each.get("spec", {})}
    assert "transaction-worker" in targets
    stated = {each["metadata"]["name"] for each in built if "replicas" in each.get("spec", {})}
    assert targets & stated == set()


def test_both_triggers_scale_alike() -> None:
    """The two components differ in where the depth comes from, and in nothing else."""
    first, second = ({**scaled_object(trigger), "triggers": None} for trigger in TRIGGERS)
    assert first == second


def test_connections_fit_in_production() -> None:
    """All roles at their maximum, each with one more replica during an update, have connections left in PostgreSQL."""
    (cluster,) = [each for each in production_builds.production() if each["kind"] == "Cluster"]
    limit = int(cluster["spec"]["postgresql"]["parameters"]["max_connections"])
    assert connections_max(production_builds.production()) + RESERVED <= limit


def test_connections_fit_on_one_machine() -> None:
    """The same on MicroK8s, with as many workers as the autoscaler may start there."""
    (limit,) = re.findall(r"--max_connections=(\d+)", (K8S / "overlays/microk8s/postgres.yaml").read_text())
    assert connections_max(production_builds.base_with("keda-postgresql")) + RESERVED <= int(limit)


def relay_series(pod: str, values: str) -> dict[str, str]:
    """What Prometheus has scraped from a relay, once a minute."""
    labels = f'queue="transfers.requested",namespace="payflow",pod="{pod}"'
    return {"series": f"payflow_queue_transfers{{{labels}}}", "values": values}


def check_query(folder: Path, series: list[dict[str, str]], expected: list[dict[str, Any]]) -> None:
    """Evaluate the query with the real Prometheus, over these series."""
    test = {
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [{"expr": query(), "eval_time": f"{MINUTES}m", "exp_samples": expected}],
    }
    path = folder / "query.yml"
    path.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run([PROMTOOL, "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def connections_max(built: tuple[Resource, ...]) -> int:
    """The connections to PostgreSQL that all roles and jobs open at most."""
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"].get("maxReplicaCount") or each["spec"].get("maxReplicas")
        for each in built
        if each["kind"] in ("ScaledObject", "HorizontalPodAutoscaler")
    }
    total = 0
    for each in built:
        role = facts.ROLES.get(each["metadata"]["name"])
        if role is not None and each["kind"] == "Deployment":
            surge = each["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
            replicas = scaled.get(role.name) or each["spec"]["replicas"]
            total += (replicas + surge) * role.database_connections_max
        elif role is not None and each["kind"] == "CronJob":
            # A run ends within its deadline; the next one starts after a minute.
            deadline = each["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"]
            total += math.ceil(deadline / 60) * role.database_connections_max
    return total + sum(job.database_connections_max for job in facts.JOBS.values())
