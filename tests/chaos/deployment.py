"""A deployment that is already running: faults by an external command, checks through its API only."""

from __future__ import annotations

import asyncio
import os

from tests.chaos.client import Client
from tests.chaos.run import Injector
from tests.chaos.schedule import Kind, Round

KINDS = [Kind("deployment", "command", (1.0, 3.0))]
"""The command decides what breaks; without one, faults are injected by hand during the run."""

COMMAND_SECONDS_MAX = 60.0


def command_injector(command: str | None) -> Injector:
    """Run the command once a round, with PAYFLOW_ROUND in its environment; without one, only wait."""

    async def inject_one(round_: Round) -> float | None:
        if command is not None:
            environment = os.environ | {"PAYFLOW_ROUND": str(round_.number)}
            child = await asyncio.create_subprocess_shell(command, env=environment)
            try:
                async with asyncio.timeout(COMMAND_SECONDS_MAX):
                    await child.wait()
            except TimeoutError:
                child.kill()
        await asyncio.sleep(round_.seconds)
        return None

    return inject_one


async def proof_faults(operator: Client) -> list[str]:
    """The failed checks of the system's own ledger proof."""
    proof = await operator.get_until_ok("/ops/ledger/proof?full=1")
    return [f"proof: {check['name']}: {check['detail']}" for check in proof["checks"] if not check["ok"]]
