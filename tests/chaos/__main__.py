"""`make chaos`: break everything under load, in an order that a seed decides, and show that no money was lost or doubled."""

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

from deploy.local import environment, files, install, lock
from deploy.local import seed as people
from deploy.local.home import Home
from deploy.local.progress import tell
from deploy.local.trouble import Trouble
from tests.chaos import elsewhere, faults, fight, report, schedule
from tests.chaos.crowd import Crowd, gather
from tests.chaos.judge import Verdict, View
from tests.chaos.report import Report, Struck
from tests.chaos.schedule import NothingToDo
from tests.chaos.system import System, start

ROUNDS = 160
"""About five minutes on two cores."""

LANES = 2
CROWD = 24
console = Console(highlight=False, soft_wrap=True)


@click.command()
@click.option("--seed", type=int, envvar="SEED", help="Repeats a schedule; printed by every run.")
@click.option("--rounds", type=click.IntRange(min=1), envvar="ROUNDS", default=ROUNDS, show_default=True)
@click.option("--lanes", type=click.IntRange(1, 8), envvar="LANES", default=LANES, help="How many faults at a time.")
@click.option("--only", envvar="ONLY", default="", help="Faults, components, or component/fault, separated by commas.")
@click.option("--list", "listing", is_flag=True, envvar="LIST", help="Print the schedule and stop.")
@click.option("--address", envvar="ADDRESS", help="A gateway that runs already; it is judged by its API alone.")
@click.option(
    "--operator", envvar="OPERATOR", help="Its operator's e-mail; the password is read from PAYFLOW_PASSWORD."
)
@click.option("--strike", envvar="STRIKE", help="A shell command that breaks something there, run once each round.")
def main(**options: object) -> None:
    """Run load and faults, wait for quiet, judge; exit 1 on a violation, 2 when it could not run."""
    os.umask(files.UMASK)
    environment.forget_driver_variables(os.environ)
    try:
        document = uvloop.run(_run(**options))  # type: ignore[arg-type]
    except (Trouble, NothingToDo) as error:
        print(f"chaos: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("chaos: stopped before its end, so there is no verdict", file=sys.stderr)
        sys.exit(2)
    sys.exit(1 if document["violations"] else 0)


async def _run(
    *,
    seed: int | None,
    rounds: int,
    lanes: int,
    only: str,
    listing: bool,
    address: str | None,
    operator: str | None,
    strike: str | None,
) -> dict[str, object]:
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    words = [word.strip() for word in only.split(",") if word.strip()]
    console.print(
        f"seed {seed}: repeat this run with [bold]make chaos SEED={seed} ROUNDS={rounds}[/bold]", style="cyan"
    )
    if address is not None:
        return await _elsewhere(address, operator, strike, Report(seed, rounds, lanes, address))
    return await _here(Report(seed, rounds, lanes, "private stack"), words, listing=listing)


async def _here(said: Report, words: list[str], *, listing: bool) -> dict[str, object]:
    home = Home.from_environment(os.environ)
    await install.ensure(tell, also=("faketime",))
    home.open()
    folder = _fresh(home.path / "chaos")
    async with start(folder, tell=_log(folder)) as system:
        turns = list(schedule.deal(schedule.choose(faults.kinds(system), words), said.seed, said.rounds))
        if listing:
            _list(turns)
            return {"violations": []}
        return await _fight(system, turns, said, home)


async def _fight(system: System, turns: list[schedule.Round], said: Report, home: Home) -> dict[str, object]:
    login = (people.OPERATOR, people.PASSWORD)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        crowd = await _gather(
            session, system.gateway, size=CROWD, seed=said.seed, operator=login, began=time.monotonic()
        )
        await _fund(crowd)
        async with fight.watched(system, crowd):
            async with fight.under_load(crowd):
                await fight.break_things(
                    iter(turns), fight.on_system(system), said, _teller(crowd, len(turns)), lanes=said.lanes
                )
            seen, verdict = await fight.conclude(crowd, said, system)
    return _finish(said, crowd, seen, verdict, home)


async def _elsewhere(address: str, operator: str | None, strike: str | None, said: Report) -> dict[str, object]:
    password = os.environ.get("PAYFLOW_PASSWORD")
    if operator is None or password is None:
        raise Trouble("a deployment that runs already needs OPERATOR=e-mail, and the password in PAYFLOW_PASSWORD")
    turns = schedule.deal(elsewhere.KINDS, said.seed, said.rounds)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        crowd = await _gather(
            session,
            address.rstrip("/"),
            size=CROWD,
            seed=said.seed,
            operator=(operator, password),
            began=time.monotonic(),
        )
        await _fund(crowd)
        async with fight.under_load(crowd):
            await fight.break_things(
                turns, elsewhere.striker(strike), said, _teller(crowd, said.rounds), lanes=said.lanes
            )
        seen, verdict = await fight.conclude(crowd, said, None)
        verdict.unbalanced.extend(await elsewhere.proof_faults(crowd.operator))
    return _finish(said, crowd, seen, verdict, Home.from_environment(os.environ))


async def _gather(session: aiohttp.ClientSession, base: str, **how: Any) -> Crowd:
    """The people of the run. Raises Trouble: nothing is broken yet, and they are not let in."""
    try:
        return await gather(session, base, **how)
    except TimeoutError as error:
        raise Trouble(f"nobody could log in at {base}") from error


async def _fund(crowd: Crowd) -> None:
    """Give everybody money. Raises Trouble: nothing is broken yet, and it does not arrive."""
    try:
        await crowd.fund()
    except TimeoutError as error:
        raise Trouble("the operator could not give everybody money before the run") from error


def _finish(said: Report, crowd: Crowd, seen: View, verdict: Verdict, home: Home) -> dict[str, object]:
    if not any(intent.kind == "transfer" and intent.transfer_id for intent in crowd.history.intents):
        verdict.stuck.append("no payment was accepted in the whole run: it shows nothing")
    document = said.document(crowd.history, seen, verdict)
    report.write(home.path / "chaos.json", document)
    report.show(console, said, document)
    return document


def _teller(crowd: Crowd, rounds: int) -> Callable[[Struck], None]:
    """One line for each fault, when it is healed."""

    def told(struck: Struck) -> None:
        accepted = sum(intent.transfer_id is not None for intent in crowd.history.intents)
        healed = "" if struck.heal_seconds is None else f"well after {struck.heal_seconds:.1f} s"
        bad = (
            f"  [bold red]{len(crowd.history.contradictions)} contradictions[/]" if crowd.history.contradictions else ""
        )
        console.print(
            f"{struck.at:7.1f} s  {struck.turn.number:4d}/{rounds}  {struck.turn.fault:<13} {struck.turn.component:<36} "
            f"{struck.turn.seconds:5.1f} s  {healed:<18} accepted {accepted}{bad}"
        )

    return told


def _list(turns: list[schedule.Round]) -> None:
    for turn in turns:
        console.print(f"{turn.number:5d}  {turn.fault:<13} {turn.component:<36} {turn.seconds:5.1f} s")


def _log(folder: Path) -> Callable[[str], None]:
    """What the stack says goes to a file: the run has lines of its own."""

    def told(line: str) -> None:
        with open(folder / "stack.log", "a", opener=files.owner_only) as file:
            file.write(line + "\n")

    return told


def _fresh(folder: Path) -> Path:
    """An empty folder for the stack of this run.

    Raises:
        Trouble: another run uses it, or it cannot be written.
    """
    try:
        if folder.exists():
            if lock.holder(Home(folder).lock) is not None:
                raise Trouble(f"another run uses {folder}")
            shutil.rmtree(folder)
        files.make_folder(folder)
    except OSError as error:
        raise Trouble(f"there is no room for a private stack at {folder}: {error.strerror}") from error
    return folder


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    main()
