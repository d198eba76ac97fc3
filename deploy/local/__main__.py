"""`python -m deploy.local run|demo|stop|clean|install|install-all`: what the Makefile calls."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable

from deploy.local import environment
from deploy.local.home import Home
from deploy.local.signals import cancel_on_signals
from deploy.programs import DeployError

COMMANDS = ("run", "demo", "stop", "clean", "install", "install-all")
USAGE = f"usage: python -m deploy.local {'|'.join(COMMANDS)}"
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

Command = Callable[[Home], Awaitable[None]]


def main(arguments: list[str]) -> int:
    """Run the command that the arguments name; returns the exit code."""
    if arguments in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        print(f"unknown command {' '.join(arguments)!r}; {USAGE}" if arguments else USAGE, file=sys.stderr)
        return EXIT_USAGE
    environment.forget_driver_variables(os.environ)
    try:
        return asyncio.run(_until_signalled(arguments[0], Home.from_environment(os.environ)))
    except DeployError as error:
        print(f"payflow: {error}", file=sys.stderr)
    except OSError as error:
        print(f"payflow: {error.filename or ''}: {error.strerror or error}".replace(" : ", " "), file=sys.stderr)
    return EXIT_ERROR


async def _until_signalled(name: str, home: Home) -> int:
    """Run a command; a signal cancels it once, so that it can clean up."""
    from deploy.local import commands  # noqa: PLC0415 - loads all drivers

    work: dict[str, Command] = {
        "run": commands.run,
        "demo": commands.demo,
        "stop": commands.stop,
        "clean": commands.clean,
        "install": commands.install_engines,
        "install-all": commands.install_all,
    }
    task = asyncio.ensure_future(work[name](home))
    cancel_on_signals(task)
    try:
        await task
    except asyncio.CancelledError:
        return 0 if name == "run" else EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
