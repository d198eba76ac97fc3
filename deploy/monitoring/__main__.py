"""`python -m deploy.monitoring alertmanager FOLDER | local`: configuration that depends on the machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from deploy import programs
from deploy.local.home import Home
from deploy.monitoring import alerting, local

USAGE = """\
usage: python -m deploy.monitoring COMMAND
  alertmanager FOLDER   write FOLDER/alertmanager/ with the receivers that FOLDER/alerts/ names
  local                 print the configuration of Prometheus for the stack that is running here"""
EXIT_USAGE = 2


def main(arguments: list[str]) -> int:
    """Run the command that the arguments name; returns the exit code."""
    match arguments:
        case ["alertmanager", folder]:
            return programs.exit_code(lambda: alerting.prepare(Path(folder)))
        case ["local"]:
            return programs.exit_code(lambda: print(local.text(Home.from_environment(os.environ)), end=""))
    print(USAGE, file=sys.stderr)
    return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
