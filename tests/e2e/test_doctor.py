"""The doctor, on a whole stack."""

from __future__ import annotations

import asyncio
import json

from deploy.doctor.findings import Finding
from deploy.doctor.targets import local
from tests.harness.stack import Stack


async def test_every_check_passes_on_a_running_stack(stack: Stack) -> None:
    """Metrics, readiness, versions, jobs, databases and secrets are read from the real processes."""
    found = await examine(stack)

    # Other tests of the session may leave dead letters; their disk is whatever the machine has.
    assert [] == [str(each) for each in found if each.level == "fail"]
    assert {"roles", "readiness", "versions", "jobs", "ledger", "connections", "secrets"} <= {
        each.check for each in found if each.level == "ok"
    }
    # The databases of this stack are those of the next release.
    assert {"warn"} == {each.level for each in found if each.check == "migrations"}


async def test_a_role_that_is_down_is_found(stack: Stack) -> None:
    """The relay is kept down: no process has its role, and the depth of the queue is unknown."""
    await stack.take_down("transaction-relay")
    try:
        found = await examine(stack)
    finally:
        stack.bring_up("transaction-relay")
        await stack.ready("transaction-relay")

    failures = [each.sentence for each in found if each.level == "fail"]
    # Until the supervisor has noticed its end, stack.json still has the process.
    assert {"no process has the role transaction-relay", "transaction-relay does not respond"} & set(failures)
    assert "no relay measures the queue transfers.requested" in failures


async def examine(stack: Stack) -> list[Finding]:
    description = json.loads((stack.home / "stack.json").read_text())
    return await asyncio.to_thread(
        lambda: list(local.check_stack(description, secrets_path=stack.home / "secrets.json"))
    )
