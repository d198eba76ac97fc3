"""`python -m deploy.compose prepare`: what the Makefile calls."""

from __future__ import annotations

import sys

from deploy import programs
from deploy.compose import prepare
from deploy.secrets import files

USAGE = "usage: python -m deploy.compose prepare"
EXIT_USAGE = 2


def main(arguments: list[str]) -> int:
    """Run the command that the arguments name; returns the exit code."""
    if arguments != ["prepare"]:
        print(USAGE, file=sys.stderr)
        return EXIT_USAGE
    return programs.exit_code(lambda: prepare.prepare(files.target_folder("compose")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
