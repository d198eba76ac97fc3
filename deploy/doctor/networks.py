"""Pure: which connections are open, against those that the code needs. A forbidden edge is tried, not assumed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from deploy.doctor.findings import Finding, fail, passed_unless, warn
from deploy.doctor.processes import Probe

ENGINE_PORTS = {"postgres": 5432, "rabbitmq": 5672, "redis": 6379}
API_PORT = 8000


def edges(upstreams: Iterable[str], engines: Iterable[str]) -> frozenset[str]:
    """The addresses that a process with these upstream services and engines connects to."""
    services = {f"{service}:{API_PORT}" for service in upstreams}
    return frozenset(services | {f"{engine}:{ENGINE_PORTS[engine]}" for engine in engines if engine in ENGINE_PORTS})


def check_dns(probes: Sequence[Probe], allowed: Mapping[str, frozenset[str]]) -> list[Finding]:
    """Each name that a process needs resolves inside of its container."""
    found = [
        fail("dns", f"{edge.partition(':')[0]} does not resolve in {probe.name}", "see whether DNS runs in the cluster")
        for probe in probes
        for edge, result in probe.edges.items()
        if result == "unresolved" and edge in allowed[probe.role]
    ]
    return passed_unless(found, "dns", "every name resolves")


def check_edges(probes: Sequence[Probe], allowed: Mapping[str, frozenset[str]], *, advice: str) -> list[Finding]:
    """Every needed edge is open and every tried edge that is not needed is closed."""
    opened = {edge for probe in probes for edge, result in probe.edges.items() if result == "open"}
    found, unproven = [], set()
    for probe in probes:
        for edge, result in probe.edges.items():
            if edge not in allowed[probe.role]:
                if result == "open":
                    found.append(fail("networks", f"{probe.name} reaches {edge}, which it does not need", advice))
                elif edge not in opened:
                    unproven.add(edge)
            elif result in ("blocked", "refused"):
                found.append(fail("networks", f"{probe.name} does not reach {edge}: {result}", advice))
    # An address that no process reaches may be down: that it was not reached shows nothing.
    found += [
        warn("networks", f"no process reaches {edge}: whether it is closed to others is unknown", "see the other lines")
        for edge in sorted(unproven)
    ]
    tried = sum(len(probe.edges) for probe in probes)
    return passed_unless(found, "networks", f"{tried} edges tried: those needed are open, the others are closed")
