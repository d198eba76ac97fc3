"""`make bench`: the rates of the whole system and of its parts against PostgreSQL alone, in one run on one machine."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from deploy.local import environment, files, install
from deploy.local.home import Home
from deploy.local.user import http_session
from deploy.programs import DeployError
from tests.performance import observability, parts, report, system, users
from tests.performance.child import ChildFailed
from tests.performance.parts import BadVariable, Plan
from tests.performance.run import Run
from tests.performance.stretches import Stretches
from tests.performance.yardstick import Yardstick

WIDTH = 120
"""Of the output in a file."""

KEPT_DOWN = "kept down"

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH)


def main() -> int:
    """Run; exit code 0: measured and proven, 1: the proof failed, 2: it could not run."""
    os.umask(files.UMASK)
    environment.forget_driver_variables(os.environ)
    try:
        document = uvloop.run(_run(parts.plan(os.environ)))
    except (BadVariable, DeployError, ChildFailed) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except TimeoutError:
        print("bench: transfers were not final in time; there is no result", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: stopped before the end; there is no result", file=sys.stderr)
        return 2
    return 0 if all(document["proof"].values()) else 1


async def _run(plan: Plan) -> dict[str, Any]:
    home = Home.from_environment(os.environ)
    began, started_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    await install.ensure(_log, also=observability.PACKAGES if observability.NAME in plan.parts else ())
    home.open()
    folder = home.path / "bench"
    wiring = observability.wiring(plan.parts)
    async with system.started(folder, report=_log, wiring=wiring) as measured, http_session() as session:
        with _progress(plan) as report_phase:
            yardstick = Yardstick(measured, folder)
            await yardstick.prepare()
            report_phase("registering users")
            registered = await users.register(measured, session, accounts=plan.accounts)
            stretches = Stretches(plan, system=measured, users=registered, yardstick=yardstick, report=report_phase)
            run = Run(plan, system=measured, yardstick=yardstick, stretches=stretches, report=report_phase, began=began)
            await run.rest()
            for name in plan.parts:
                found = await run.part(name)
                console.print(f"{time.monotonic() - began:5.0f} s  {name:<13} {report.line(name, found)}")
    document = report.document(run, seconds=time.monotonic() - began, started_at=started_at)
    files.write_json(home.path / "bench.json", document)
    report.show(console, document)
    return document


@contextmanager
def _progress(plan: Plan) -> Iterator[Callable[[str], None]]:
    """A bar of the parts during the block; the function shows what is being done."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        # A part has three phases: the stretch, the proof, the yardstick.
        task = progress.add_task("", total=3 * len(plan.parts) + 3)

        def show(phase: str) -> None:
            progress.update(task, description=phase, advance=1)

        yield show


def _log(line: str) -> None:
    """Show a message of the stack, but not those about processes that the run itself restarts."""
    if KEPT_DOWN not in line:
        console.print(line, style="dim")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    sys.exit(main())
