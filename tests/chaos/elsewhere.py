"""A deployment that runs already, somewhere: broken by a command of its owners, judged by its API alone."""

from __future__ import annotations

import asyncio
import os

from tests.chaos.fight import Strike
from tests.chaos.person import Person
from tests.chaos.schedule import Kind, Round

KINDS = [Kind("deployment", "strike", (1.0, 3.0))]
"""What is broken there is up to the command; without one, people break things by hand meanwhile."""

STRIKE_SECONDS_MAX = 60.0


def striker(command: str | None) -> Strike:
    """Run the command once a round, with PAYFLOW_ROUND in its environment; without one, only let time pass."""

    async def strike_one(turn: Round) -> float | None:
        if command is not None:
            environment = os.environ | {"PAYFLOW_ROUND": str(turn.number)}
            child = await asyncio.create_subprocess_shell(command, env=environment)
            try:
                async with asyncio.timeout(STRIKE_SECONDS_MAX):
                    await child.wait()
            except TimeoutError:
                child.kill()
        await asyncio.sleep(turn.seconds)

    return strike_one


async def proof_faults(operator: Person) -> list[str]:
    """What the system's own proof of its ledger finds."""
    proof = await operator.insist("/ops/ledger/proof?full=1")
    return [f"proof: {check['name']}: {check['detail']}" for check in proof["checks"] if not check["ok"]]
