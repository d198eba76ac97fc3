"""The smoke test of a deployment, against a whole stack."""

from __future__ import annotations

from deploy.smoke import transfer
from deploy.smoke.settings import Operator
from payflow.client import PayFlow
from tests.harness.stack import Stack


async def test_smoke_test_passes_on_a_running_system(stack: Stack) -> None:
    """Two new users, one deposit, one transfer, with an API key that has the scope `operate` alone."""
    async with PayFlow(stack["gateway"], email="ops@example.com", password="payflow-demo-1") as operator:
        key = await operator.create_api_key("smoke", ["operate"], password="payflow-demo-1")
        record = await transfer.run(stack["gateway"], Operator(api_key=key.key))
        await operator.revoke_api_key(key.listed.id)

    assert record.error is None
    assert all(step.ok for step in record.steps)
