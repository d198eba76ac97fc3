"""`python -m deploy.compose up|down|prepare`: what the Makefile calls."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from deploy import programs
from deploy.compose.down import down
from deploy.compose.prepare import prepare
from deploy.compose.up import up
from deploy.secrets import files


def write() -> None:
    """Write what the containers mount, and start nothing."""
    folder = Path(os.environ.get("PAYFLOW_DEPLOY") or files.target_folder("compose"))
    prepare(folder)
    print(f"secrets and configuration are in {folder}; keep {folder / files.STORE} safe")


COMMANDS: dict[str, Callable[[], None]] = {
    "up": lambda: up(os.environ),
    "down": lambda: down(os.environ),
    "prepare": write,
}
USAGE = f"usage: python -m deploy.compose {'|'.join(COMMANDS)}"
EXIT_USAGE = 2


def main(arguments: list[str]) -> int:
    """Run the command that the arguments name; returns the exit code."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        print(USAGE, file=sys.stderr)
        return EXIT_USAGE
    return programs.exit_code(COMMANDS[arguments[0]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
