"""The scrape configuration of a local stack: the processes of its stack.json, by the labels that the rules expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from deploy.local import files
from deploy.local.home import REPOSITORY, Home
from deploy.local.ports import LOOPBACK
from deploy.local.roles import CANARY, ROLES
from deploy.programs import DeployError

RULES = REPOSITORY / "monitoring" / "prometheus" / "rules"
NEED_EXPORTERS = ("engines.yml", "hosts.yml")
"""Rules that report a missing exporter."""

NEED_ALERTMANAGER = ("monitoring.yml",)
"""Rules that report a missing Alertmanager."""

QUEUE_FAMILIES = ["queue_consumer_count", "queue_coarse_metrics"]
"""What RabbitMQ exports for each queue; its ordinary page has only sums."""

SCRAPE_INTERVAL = "5s"


def configuration(
    stack: Mapping[str, Any],
    *,
    rabbitmq: str,
    exporters: Mapping[str, str] | None = None,
    servers: Mapping[str, str] | None = None,
    interval: str = SCRAPE_INTERVAL,
    rules: Path = RULES,
    labels: Mapping[str, str] | None = None,
    probed: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The configuration of Prometheus for the stack that a stack.json describes.

    `rabbitmq` is host:port of the broker's own metrics; `exporters` and `servers` (Prometheus itself, and the Alertmanager that
    alerts are sent to) are host:port too, by the name of their job. Without exporters the rules about engines and machines are
    left out, and without Alertmanager those about monitoring itself. The processes of the stack get `labels`. `probed` are the
    pages that are read as a client reads them, instead of the one of the gateway.
    """
    exporters, servers = exporters or {}, servers or {}
    others = {name: address for name, address in exporters.items() if name != "blackbox"}
    managers = [address for name, address in servers.items() if name == "alertmanager"]
    without = (*(() if exporters else NEED_EXPORTERS), *(() if managers else NEED_ALERTMANAGER))
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": managers}]}]},
        "rule_files": [str(path) for path in sorted(rules.iterdir()) if path.name not in without],
        "scrape_configs": [
            {"job_name": "payflow", "static_configs": _processes(stack, labels or {})},
            *(_job(name, address) for name, address in {"rabbitmq": rabbitmq, **others, **servers}.items()),
            _job("rabbitmq-queues", rabbitmq)
            | {"metrics_path": "/metrics/detailed", "params": {"family": QUEUE_FAMILIES}},
            *(
                [_probes(probed or [f"{stack['gateway']}/livez"], exporters["blackbox"])]
                if "blackbox" in exporters
                else []
            ),
        ],
    }


def _processes(stack: Mapping[str, Any], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {"targets": [urlsplit(stack["metrics"][role.name]).netloc], "labels": {"role": role.identity, **labels}}
        for role in (*ROLES, CANARY)
        if role.name in stack["metrics"]
    ]


def _job(name: str, address: str) -> dict[str, Any]:
    return {"job_name": name, "static_configs": [{"targets": [address]}]}


def _probes(pages: Sequence[str], exporter: str) -> dict[str, Any]:
    """The probes of pages: the exporter gets each as a parameter."""
    return {
        "job_name": "blackbox",
        "static_configs": [{"targets": list(pages)}],
        "metrics_path": "/probe",
        "params": {"module": ["http"]},
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["__param_target"], "target_label": "instance"},
            {"target_label": "__address__", "replacement": exporter},
        ],
    }


def text(home: Home) -> str:
    """The configuration for the stack that is running below `home`, as YAML.

    Raises:
        DeployError: no stack is running there.
    """
    stack, ports = files.read_object(home.stack), files.read_object(home.ports)
    if stack is None or ports is None:
        raise DeployError(f"no stack is running below {home.path}: start it with make run")
    made = configuration(stack, rabbitmq=f"{LOOPBACK}:{ports['rabbitmq_prometheus']}")
    return yaml.safe_dump(made, sort_keys=False)
