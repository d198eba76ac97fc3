"""`make chaos`: inject faults under load, in an order set by a seed, and check that no money was lost or doubled."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import click
import uvloop
from rich.console import Console

from deploy.local import environment, files, install, lock, progress
from deploy.local import seed as demo
from deploy.local.errors import LocalError
from deploy.local.home import Home
from deploy.programs import DeployError
from tests.chaos import cluster_faults, cluster_system, deployment, faults, report, run, schedule
from tests.chaos.checks import FinalState, Verdict
from tests.chaos.load import Load, register_clients
from tests.chaos.report import Injected, Report
from tests.chaos.schedule import NoSuchFault
from tests.chaos.system import System, start

ROUNDS = 160
"""About five minutes on two cores."""

LANES = 2
CLIENTS = 24
console = Console(highlight=False, soft_wrap=True)


@click.command()
@click.option("--seed", type=int, envvar="SEED", help="Repeats a schedule; every run prints its seed.")
@click.option("--rounds", type=click.IntRange(min=1), envvar="ROUNDS", default=ROUNDS, show_default=True)
@click.option("--lanes", type=click.IntRange(1, 8), envvar="LANES", default=LANES, help="Faults at the same time.")
@click.option("--only", envvar="ONLY", default="", help="Faults, components, or component/fault, separated by commas.")
@click.option("--ha", is_flag=True, envvar="HA", help="Clusters of three, and the faults of clusters.")
@click.option("--list", "listing", is_flag=True, envvar="LIST", help="Print the schedule and stop.")
@click.option("--address", envvar="ADDRESS", help="A gateway that is already running; checked through its API only.")
@click.option(
    "--operator", envvar="OPERATOR", help="Its operator's e-mail; the password is read from PAYFLOW_PASSWORD."
)
@click.option(
    "--command", envvar="FAULT_COMMAND", help="A shell command that injects a fault there; runs once a round."
)
def main(**options: object) -> None:
    """Run load and faults, wait for quiet, evaluate; exit 1 on a violation, 2 if it could not run."""
    os.umask(files.UMASK)
    environment.forget_driver_variables(os.environ)
    try:
        document = uvloop.run(_run(**options))  # type: ignore[arg-type]
    except (DeployError, NoSuchFault) as error:
        print(f"chaos: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("chaos: stopped before the end; there is no verdict", file=sys.stderr)
        sys.exit(2)
    sys.exit(1 if document["violations"] else 0)


async def _run(
    *,
    seed: int | None,
    rounds: int,
    lanes: int,
    only: str,
    ha: bool,
    listing: bool,
    address: str | None,
    operator: str | None,
    command: str | None,
) -> dict[str, object]:
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    words = [word.strip() for word in only.split(",") if word.strip()]
    console.print(
        f"seed {seed}: repeat this run with [bold]make chaos SEED={seed} ROUNDS={rounds}{' HA=1' if ha else ''}[/bold]",
        style="cyan",
    )
    if address is not None:
        return await _run_on_deployment(address, operator, command, Report(seed, rounds, lanes, address))
    if ha:
        # One fault at a time: a cluster of three tolerates one.
        return await _run_on_clusters(Report(seed, rounds, 1, "private stack on clusters"), words, listing=listing)
    return await _run_on_private_stack(Report(seed, rounds, lanes, "private stack"), words, listing=listing)


async def _run_on_private_stack(summary: Report, words: list[str], *, listing: bool) -> dict[str, object]:
    home = Home.from_environment(os.environ)
    await install.ensure(progress.report, also=("faketime",))
    home.open()
    folder = _empty_folder(home.path / "chaos")
    async with start(folder, report=_log(folder)) as system:
        rounds = list(schedule.generate(schedule.select(faults.kinds(system), words), summary.seed, summary.rounds))
        if listing:
            _list(rounds)
            return {"violations": []}
        return await _run_rounds(system, rounds, run.stack_injector(system), summary)


async def _run_on_clusters(summary: Report, words: list[str], *, listing: bool) -> dict[str, object]:
    rounds = list(schedule.generate(schedule.select(cluster_faults.KINDS, words), summary.seed, summary.rounds))
    if listing:
        _list(rounds)
        return {"violations": []}
    home = Home.from_environment(os.environ)
    home.open()
    folder = _empty_folder(home.path / "chaos")
    async with cluster_system.start(folder, report=_log(folder)) as system:
        return await _run_rounds(system, rounds, run.cluster_injector(system), summary)


async def _run_rounds(
    system: System, rounds: list[schedule.Round], injector: run.Injector, summary: Report
) -> dict[str, object]:
    login = (demo.OPERATOR, demo.PASSWORD)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        load = await _register_clients(
            session, system.gateway, size=CLIENTS, seed=summary.seed, operator=login, began=time.monotonic()
        )
        await _fund(load)
        async with run.watching_ledger(system, load):
            async with run.under_load(load):
                summary.began = load.clients[0].now()
                await run.inject_faults(
                    iter(rounds),
                    injector,
                    summary,
                    _fault_printer(load, len(rounds)),
                    lanes=summary.lanes,
                )
            seen, verdict = await run.conclude(load, summary, system)
    return _finish(summary, load, seen, verdict, Home.from_environment(os.environ))


async def _run_on_deployment(
    address: str, operator: str | None, command: str | None, summary: Report
) -> dict[str, object]:
    password = os.environ.get("PAYFLOW_PASSWORD")
    if operator is None or password is None:
        raise LocalError("a running deployment needs OPERATOR=e-mail, and the password in PAYFLOW_PASSWORD")
    rounds = schedule.generate(deployment.KINDS, summary.seed, summary.rounds)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        load = await _register_clients(
            session,
            address.rstrip("/"),
            size=CLIENTS,
            seed=summary.seed,
            operator=(operator, password),
            began=time.monotonic(),
        )
        await _fund(load)
        async with run.under_load(load):
            summary.began = load.clients[0].now()
            await run.inject_faults(
                rounds,
                deployment.command_injector(command),
                summary,
                _fault_printer(load, summary.rounds),
                lanes=summary.lanes,
            )
        seen, verdict = await run.conclude(load, summary, None)
        verdict.unbalanced.extend(await deployment.proof_faults(load.operator))
    return _finish(summary, load, seen, verdict, Home.from_environment(os.environ))


async def _register_clients(session: aiohttp.ClientSession, base: str, **how: Any) -> Load:
    """Register the clients of the run. Raises LocalError if they cannot log in before the first fault."""
    try:
        return await register_clients(session, base, **how)
    except TimeoutError as error:
        raise LocalError(f"no client could log in at {base}") from error


async def _fund(load: Load) -> None:
    """Fund every client. Raises LocalError if the money does not arrive before the first fault."""
    try:
        await load.fund()
    except TimeoutError as error:
        raise LocalError("the operator could not fund the clients before the run") from error


def _finish(summary: Report, load: Load, seen: FinalState, verdict: Verdict, home: Home) -> dict[str, object]:
    if not any(intent.kind == "transfer" and intent.transfer_id for intent in load.history.intents):
        verdict.stuck.append("no payment was accepted in the whole run: it proves nothing")
    document = summary.document(load.history, seen, verdict)
    report.write(home.path / "chaos.json", document)
    report.show(console, summary, document)
    return document


def _fault_printer(load: Load, rounds: int) -> Callable[[Injected], None]:
    """Print one line for each fault once it has healed."""

    def show(injected: Injected) -> None:
        accepted = sum(intent.transfer_id is not None for intent in load.history.intents)
        healed = "" if injected.heal_seconds is None else f"ready after {injected.heal_seconds:.1f} s"
        bad = f"  [bold red]{len(load.history.contradictions)} contradictions[/]" if load.history.contradictions else ""
        console.print(
            f"{injected.at:7.1f} s  {injected.round.number:4d}/{rounds}  {injected.round.fault:<14} "
            f"{injected.round.component:<36} {injected.round.seconds:5.1f} s  {healed:<20} accepted {accepted}{bad}"
        )

    return show


def _list(rounds: list[schedule.Round]) -> None:
    for round_ in rounds:
        console.print(f"{round_.number:5d}  {round_.fault:<14} {round_.component:<36} {round_.seconds:5.1f} s")


def _log(folder: Path) -> Callable[[str], None]:
    """Write the output of the stack to a file, apart from the output of the run."""

    def show(line: str) -> None:
        with open(folder / "stack.log", "a", opener=files.owner_only) as file:
            file.write(line + "\n")

    return show


def _empty_folder(folder: Path) -> Path:
    """An empty folder for the stack of this run.

    Raises:
        LocalError: another run uses it, or it cannot be written.
    """
    try:
        if folder.exists():
            if lock.holder(Home(folder).lock) is not None:
                raise LocalError(f"another run uses {folder}")
            shutil.rmtree(folder)
        files.make_folder(folder)
    except OSError as error:
        raise LocalError(f"cannot create a private stack at {folder}: {error.strerror}") from error
    return folder


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    main()
