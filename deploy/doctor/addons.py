"""Pure: the add-ons of MicroK8s, from `microk8s status --format yaml`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from deploy.doctor.findings import Finding, fail, ok, passed_unless, warn

NEEDED = {
    "dns": "services find each other by name",
    "hostpath-storage": "the engines keep their data",
    "registry": "the image is pushed to localhost:32000",
    "ingress": "the gateway is published",
}
OPTIONAL = {
    "metrics-server": "the plain HorizontalPodAutoscaler needs it",
    "cert-manager": "certificates are renewed by it",
    "observability": "metrics, alerts and dashboards",
    "keda": "workers scale on the depth of the queue",
}
COMMUNITY = frozenset({"keda"})
NETWORK = "ha-cluster"


def parse(status: str) -> dict[str, bool]:
    """Whether each add-on is enabled. Line by line: MicroK8s does not quote the descriptions, so it need not be YAML."""
    found = re.findall(r"^ +(?:- )?(name|status): (\S+)$", status, flags=re.MULTILINE)
    names = [value for key, value in found if key == "name"]
    states = [value == "enabled" for key, value in found if key == "status"]
    return dict(zip(names, states, strict=True))


def check_addons(enabled: Mapping[str, bool]) -> list[Finding]:
    """The needed add-ons are enabled; each line has the command that enables one."""
    found = [
        fail("add-ons", f"{name} is not enabled: {why}", f"microk8s enable {name}")
        for name, why in NEEDED.items()
        if not enabled.get(name)
    ]
    if not enabled.get(NETWORK):
        sentence = f"{NETWORK} is not enabled: without Calico a NetworkPolicy is accepted and has no effect"
        found.append(warn("add-ons", sentence, f"microk8s enable {NETWORK}"))
    missing = [name for name in OPTIONAL if not enabled.get(name)]
    listed = passed_unless(found, "add-ons", f"enabled: {', '.join(NEEDED)}")
    return listed + [ok("add-ons", f"optional: {OPTIONAL[name]} ({_enable(name)})") for name in missing]


def _enable(name: str) -> str:
    first = "microk8s enable community && " if name in COMMUNITY else ""
    return f"{first}microk8s enable {name}"
