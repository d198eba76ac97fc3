"""`python -m deploy.monitoring prepare FOLDER | dashboards | local`: configuration that depends on the machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from deploy import programs
from deploy.local.home import REPOSITORY, Home
from deploy.monitoring import local, overview, prepare

USAGE = """\
usage: python -m deploy.monitoring COMMAND
  prepare FOLDER   write FOLDER/monitoring/, with the receivers of alerts that FOLDER/alerts/ names
  dashboards       write the dashboards in monitoring/grafana/dashboards/
  local            print the configuration of Prometheus for the stack that is running here"""
EXIT_USAGE = 2


def main(arguments: list[str]) -> int:
    """Run the command that the arguments name; returns the exit code."""
    match arguments:
        case ["prepare", folder]:
            return programs.exit_code(lambda: prepare.prepare(Path(folder)))
        case ["dashboards"]:
            (REPOSITORY / "monitoring" / "grafana" / "dashboards" / "overview.json").write_text(overview.text())
            return 0
        case ["local"]:
            return programs.exit_code(lambda: print(local.text(Home.from_environment(os.environ)), end=""))
    print(USAGE, file=sys.stderr)
    return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
