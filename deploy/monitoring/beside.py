"""`make monitor`: Prometheus, Alertmanager and the exporters beside the stack that is running on this machine."""

from __future__ import annotations

from deploy.local import files, install
from deploy.local.home import Home
from deploy.local.ports import LOOPBACK
from deploy.local.progress import report, timed
from deploy.monitoring import programs
from deploy.monitoring.servers import EXPORTERS, Servers
from deploy.programs import DeployError

FOLDER = "monitoring"


async def monitor(home: Home) -> None:
    """Start everything, print the addresses, and keep it up in the foreground until it is cancelled.

    Raises:
        DeployError: no stack is running below `home`, or a program cannot be installed or started.
    """
    stack, ports = files.read_object(home.stack), files.read_object(home.ports)
    if stack is None or ports is None:
        raise DeployError(f"no stack is running below {home.path}: start it with make run")
    await install.ensure(report, also=tuple(programs.FINDERS))
    servers = Servers(home.path / FOLDER, stack, broker=f"{LOOPBACK}:{ports['rabbitmq_prometheus']}")
    try:
        await timed("Prometheus, Alertmanager and exporters", servers.start())
        _print(servers)
        await servers.watch(report)
    finally:
        report("stopping")
        await servers.stop()


def _print(servers: Servers) -> None:
    report(f"\n  Prometheus    http://{servers.addresses['prometheus']}   rules, targets and queries")
    report(f"  Alertmanager  http://{servers.addresses['alertmanager']}   alerts and silences")
    for name in EXPORTERS:
        report(f"  {name:<12}  http://{servers.addresses[name]}/metrics")
    report(f"  notified      {servers.alerts} gets a line for each alert")
    report(f"  data          {servers.folder}")
    report("  stop          Ctrl-C\n")
