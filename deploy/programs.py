"""Programs that deployment commands run: found on PATH, with one line of error when they are missing or fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ENVIRONMENT_PROGRAMS = Path(sys.executable).parent
"""Where the programs of the locked packages are: `docker-compose`, `kubectl`, `hadolint`."""


class DeployError(Exception):
    """A deployment command that failed; its text is one line that says what to do."""


def find(name: str, *, hint: str) -> str:
    """The path of a program, from PATH or from the project's environment.

    Raises:
        DeployError: it is not installed; `hint` says how to get it.
    """
    path = shutil.which(name) or shutil.which(name, path=str(ENVIRONMENT_PROGRAMS))
    if path is None:
        raise DeployError(f"{name} is not installed: {hint}")
    return path


def output(
    command: Sequence[str],
    *,
    what: str,
    environment: Mapping[str, str] | None = None,
    text: str | None = None,
    seconds_max: float = 60.0,
) -> str:
    """Run a program to its end and return its standard output; `text` is its standard input.

    Raises:
        DeployError: it failed or took too long; the message is `what` and its last line of error.
    """
    try:
        done = subprocess.run(
            list(command),
            env=None if environment is None else os.environ | dict(environment),
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds_max,
        )
    except OSError as error:
        raise DeployError(f"{what} failed: {error}") from None
    except subprocess.TimeoutExpired:
        raise DeployError(f"{what} did not finish within {seconds_max:g} s") from None
    if done.returncode != 0:
        raise DeployError(f"{what} failed: {last_line(done.stderr + done.stdout) or f'exit code {done.returncode}'}")
    return done.stdout


def last_line(text: str) -> str:
    """The last line that is not empty."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def exit_code(command: Callable[[], int | None]) -> int:
    """Run a command of `python -m deploy...`; a failure becomes one line on standard error and exit code 1.

    A file that cannot be read or written is such a failure: another owner, a full disk.
    """
    try:
        return command() or 0
    except (DeployError, OSError) as error:
        print(f"payflow: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
