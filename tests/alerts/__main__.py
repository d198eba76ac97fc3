"""`make alerts-prove`: cause every alert on a private stack, and wait until a receiver was notified of it and of its end."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import uvloop
from rich.console import Console

from deploy.local import environment, files, install, lock, progress
from deploy.local.errors import LocalError
from deploy.local.home import Home
from deploy.monitoring import local, programs
from deploy.programs import DeployError
from tests.alerts import canary_faults, plan, proof, report, silence
from tests.alerts import rig as rigs
from tests.alerts.plan import MODES, Step
from tests.alerts.proof import Result
from tests.alerts.rig import Rig
from tests.alerts.silence import KILLS, QUIET, Silence
from tests.alerts.table import Fault

HOLD_SECONDS = 180.0
QUIET_SECONDS = 600.0
console = Console(highlight=False, soft_wrap=True)


@click.command()
@click.option("--only", envvar="ONLY", default="", help="Names of alerts, `quiet` or `kills`, separated by commas.")
@click.option(
    "--hold", type=click.FloatRange(min=0), envvar="HOLD", default=HOLD_SECONDS, help="Seconds that each fault is held."
)
@click.option(
    "--quiet", type=click.FloatRange(min=0), envvar="QUIET", default=QUIET_SECONDS, help="Seconds that must be silent."
)
def main(only: str, hold: float, quiet: float) -> None:
    """Prove the alerts; exit 1 if one is not proven, 2 if the run was not possible."""
    os.umask(files.UMASK)
    environment.forget_driver_variables(os.environ)
    names = [name for name in only.replace(",", " ").split() if name]
    try:
        _check(names)
        succeeded = uvloop.run(_run(names, plan.steps(names, hold=hold, quiet=quiet), hold))
    except DeployError as error:
        print(f"alerts-prove: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("alerts-prove: stopped; ONLY= continues with what is missing", file=sys.stderr)
        sys.exit(2)
    sys.exit(0 if succeeded else 1)


def _check(names: Sequence[str]) -> None:
    """Raises LocalError for a name that is neither an alert nor a mode."""
    unknown = sorted(set(names) - report.names() - set(MODES))
    if unknown:
        raise LocalError(f"{', '.join(unknown)}: no such alert; ONLY= takes names of alerts, {' or '.join(MODES)}")


async def _run(names: Sequence[str], steps: Sequence[Step], hold: float) -> bool:
    home = Home.from_environment(os.environ)
    await install.ensure(progress.report, also=tuple(programs.FINDERS))
    home.open()
    folder, target = _empty_folder(home.path / "alerts-prove"), home.path / "alerts.json"
    run = Run(steps, hold, target, (files.read_object(target) or {}) if names else {})
    run.show(f"{len(run.steps)} steps, about {_minutes(plan.START_SECONDS + sum(step.seconds for step in run.steps))}")
    try:
        async with rigs.start(folder, report=_log(folder)) as rig:
            run.show("the private stack and its monitoring are up")
            await run.take(rig, folder / "rules")
    finally:
        made = run.write()
        report.show(console, made)
        console.print(f"{run.seconds:.0f} s; {target}")
    return report.succeeded(made)


class Run:
    """The steps of a run, and what is known so far."""

    def __init__(self, steps: Sequence[Step], hold: float, target: Path, earlier: dict[str, Any]) -> None:
        self.steps = steps
        self._hold = hold
        self._target = target
        self._earlier = earlier
        self._began = time.monotonic()
        self._results: list[Result] = []
        self._silences: list[Silence] = []

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return time.monotonic() - self._began

    def show(self, line: str) -> None:
        """Print a line with the time."""
        console.print(f"{self.seconds:6.0f} s  {line}", markup=False)

    async def take(self, rig: Rig, folder: Path) -> None:
        """Take each step: faults with the shortened rules, which are written to `folder`, and silences with the real ones."""
        shorter = rigs.write_shortened(folder)
        if not plan.proves(self.steps, "PayflowCanaryNotFunded"):
            await canary_faults.fund(rig)
        for number, step in enumerate(self.steps):
            await rig.use_rules(shorter if step.wave else local.RULES)
            await proof.until_quiet(rig, self.show)
            rest = _minutes(sum(each.seconds for each in self.steps[number:]))
            self.show(f"step {number + 1} of {len(self.steps)}: {step.name}; {rest} to go")
            await self._take(rig, step)
            self.write()

    def write(self) -> dict[str, Any]:
        """Write what is known, which a later run adds to."""
        made = report.document(self._results, self._silences, earlier=self._earlier)
        report.write(self._target, made)
        return made

    async def _take(self, rig: Rig, step: Step) -> None:
        if step.name == QUIET:
            self._silences.append(await silence.quiet(rig, self.show, seconds=step.seconds))
        if step.name == KILLS:
            self._silences.append(await silence.kills(rig, self.show))
        await asyncio.gather(*(self._prove(rig, fault) for fault in step.wave))

    async def _prove(self, rig: Rig, fault: Fault) -> None:
        self._results += await proof.prove(rig, fault, self.show, hold=self._hold)
        self.write()


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min"


def _empty_folder(folder: Path) -> Path:
    """An empty folder for the stack of this run.

    Raises:
        LocalError: another run uses it.
    """
    if folder.exists():
        if lock.holder(Home(folder).lock) is not None:
            raise LocalError(f"another run uses {folder}")
        shutil.rmtree(folder)
    files.make_folder(folder)
    return folder


def _log(folder: Path) -> progress.Report:
    """Write the output of the stack to a file, apart from the output of the run."""

    def write(line: str) -> None:
        with open(folder / "stack.log", "a", opener=files.owner_only) as file:
            file.write(line + "\n")

    return write


if __name__ == "__main__":
    # A shell that starts it in the background ignores the first.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    main()
