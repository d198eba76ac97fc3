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

import click
import uvloop
from rich.console import Console

from deploy.local import environment, files, install, lock, progress
from deploy.local.errors import LocalError
from deploy.local.home import Home
from deploy.monitoring import programs
from deploy.programs import DeployError
from tests.alerts import proof, report, silence, table
from tests.alerts import rig as rigs
from tests.alerts.proof import Result
from tests.alerts.rig import Rig
from tests.alerts.silence import KILLS, MODES, QUIET, Silence

SILENCES = {QUIET: silence.quiet, KILLS: silence.kills}
console = Console(highlight=False, soft_wrap=True)


@click.command()
@click.option("--only", envvar="ONLY", default="", help="Names of alerts, `quiet` or `kills`, separated by commas.")
def main(only: str) -> None:
    """Prove the alerts; exit 1 if one is not proven, 2 if the run was not possible."""
    os.umask(files.UMASK)
    environment.forget_driver_variables(os.environ)
    names = [name for name in only.replace(",", " ").split() if name]
    try:
        _check(names)
        succeeded = uvloop.run(_run(names))
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


async def _run(names: Sequence[str]) -> bool:
    home = Home.from_environment(os.environ)
    await install.ensure(progress.report, also=tuple(programs.FINDERS))
    home.open()
    folder, target = _empty_folder(home.path / "alerts-prove"), home.path / "alerts.json"
    earlier = (files.read_object(target) or {}) if names else {}
    began = time.monotonic()

    def show(line: str) -> None:
        console.print(f"{time.monotonic() - began:6.0f} s  {line}", markup=False)

    results: list[Result] = []
    silences: list[Silence] = []
    try:
        async with rigs.start(folder, report=_log(folder)) as rig:
            show("the private stack and its monitoring are up")
            await _quiet_parts(rig, names, silences, show)
            await _prove_all(rig, folder, names, results, show)
    finally:
        made = report.document(results, silences, earlier=earlier)
        report.write(target, made)
        report.show(console, made)
        console.print(f"{time.monotonic() - began:.0f} s; {target}")
    return report.succeeded(made)


async def _quiet_parts(rig: Rig, names: Sequence[str], silences: list[Silence], show: proof.Show) -> None:
    """What must be silent, with the real rules."""
    for mode, run in SILENCES.items():
        if not names or mode in names:
            await proof.until_quiet(rig, show)
            silences.append(await run(rig, show))


async def _prove_all(rig: Rig, folder: Path, names: Sequence[str], results: list[Result], show: proof.Show) -> None:
    """Each wave, with the shortened rules."""
    alerts = [name for name in names if name not in MODES]
    waves = table.selected(alerts) if alerts or not names else []
    if waves:
        await rig.use_rules(rigs.write_shortened(folder / "rules"))
    for number, wave in enumerate(waves, start=1):
        await proof.until_quiet(rig, show)
        show(f"wave {number} of {len(waves)}: {len(wave)} faults")
        for made in await asyncio.gather(*(proof.prove(rig, fault, show) for fault in wave)):
            results.extend(made)


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
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    main()
