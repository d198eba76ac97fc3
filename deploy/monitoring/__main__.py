"""`python -m deploy.monitoring prepare FOLDER | dashboards | local | monitor`: configuration that depends on the machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

from deploy import programs
from deploy.local.home import REPOSITORY, Home
from deploy.local.signals import cancel_on_signals
from deploy.monitoring import beside, local, prepare
from deploy.monitoring.dashboards import files as dashboards

USAGE = """\
usage: python -m deploy.monitoring COMMAND
  prepare FOLDER   write FOLDER/monitoring/, with the receivers of alerts that FOLDER/alerts/ names
  dashboards       write the dashboards in monitoring/grafana/dashboards/
  local            print the configuration of Prometheus for the stack that is running here
  monitor          run Prometheus, Alertmanager and the exporters beside that stack until Ctrl-C"""
EXIT_USAGE = 2


def main(arguments: list[str]) -> int:
    """Run the command that the arguments name; returns the exit code."""
    match arguments:
        case ["prepare", folder]:
            return programs.exit_code(lambda: prepare.prepare(Path(folder)))
        case ["dashboards"]:
            return programs.exit_code(lambda: dashboards.write(REPOSITORY / "monitoring" / "grafana" / "dashboards"))
        case ["local"]:
            return programs.exit_code(lambda: print(local.text(Home.from_environment(os.environ)), end=""))
        case ["monitor"]:
            return programs.exit_code(lambda: asyncio.run(_monitor(Home.from_environment(os.environ))))
    print(USAGE, file=sys.stderr)
    return EXIT_USAGE


async def _monitor(home: Home) -> None:
    """Run beside the stack until a signal."""
    task = asyncio.ensure_future(beside.monitor(home))
    cancel_on_signals(task)
    with contextlib.suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
