"""The scrape configuration of a local stack: the processes of its stack.json, by the labels that the rules expect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import yaml

from deploy.local import files
from deploy.local.home import REPOSITORY, Home
from deploy.local.ports import LOOPBACK
from deploy.local.roles import ROLES
from deploy.programs import DeployError

RULES = REPOSITORY / "monitoring" / "prometheus" / "rules"
NEED_EXPORTERS = ("engines.yml", "hosts.yml")
"""Rules that report a missing exporter."""

SCRAPE_INTERVAL = "5s"


def configuration(
    stack: Mapping[str, Any],
    *,
    rabbitmq: str,
    exporters: Mapping[str, str] | None = None,
    alertmanager: str | None = None,
    interval: str = SCRAPE_INTERVAL,
) -> dict[str, Any]:
    """The configuration of Prometheus for the stack that a stack.json describes.

    `rabbitmq` is host:port of the broker's own metrics; `exporters` are host:port of further exporters, by the name of their job.
    Without exporters the rules about engines and machines are left out. Alerts are sent to `alertmanager`, host:port too.
    """
    processes = [
        {"targets": [urlsplit(stack["metrics"][role.name]).netloc], "labels": {"role": role.identity}} for role in ROLES
    ]
    jobs = {"rabbitmq": rabbitmq, **(exporters or {})}
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager] if alertmanager else []}]}]},
        "rule_files": [str(path) for path in sorted(RULES.iterdir()) if exporters or path.name not in NEED_EXPORTERS],
        "scrape_configs": [
            {"job_name": "payflow", "static_configs": processes},
            *({"job_name": job, "static_configs": [{"targets": [address]}]} for job, address in jobs.items()),
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
