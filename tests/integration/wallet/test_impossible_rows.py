"""Rows that no release writes, by an attacker with all rights on the database: the proof fails, and does not end by an error."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import REGISTRY

from services.chassis.roles import Runtime
from services.wallet import commands, metrics
from services.wallet.sealer import Sealer
from tests.harness.sealed_ledgers import Ledger, faults

SECONDS_MAX = 60
BIGINT_MAX = 2**63 - 1


@pytest.mark.parametrize(
    ("action", "check"),
    [
        (f"UPDATE entries SET amount = {BIGINT_MAX}", "entries_sum_to_zero"),
        (f"UPDATE entries SET balance_after = {BIGINT_MAX}", "chains_unbroken"),
        ("UPDATE blocks SET outcomes = ARRAY[outcomes] WHERE number = 2", "blocks_unbroken"),
    ],
)
async def test_a_check_that_cannot_be_made_has_failed(ledger: Ledger, action: str, check: str) -> None:
    """Guarantee 16: amounts without a sum, and blocks that cannot be parsed, fail the proof; it is stored as failed."""
    recorded = await commands.find_last_proof(ledger.pool)
    assert recorded is not None
    await ledger.tamper(action)

    proof = await ledger.verify()
    await commands.record_proof(ledger.seal_pool, proof)
    stored = await commands.find_last_proof(ledger.pool)

    assert "the check cannot be made" in faults(proof)[check]
    assert stored is not None
    assert not stored.ok
    assert proof.head is not None
    assert recorded.head is not None
    assert recorded.head.number <= proof.head.number


async def test_a_run_that_cannot_begin_is_no_passed_one(ledger: Ledger) -> None:
    """If the stored run cannot be read, the sealer reports that the proof does not pass, and does not stop."""
    before = await commands.find_last_proof(ledger.pool)
    runtime = Runtime(service="wallet", role="seal", instance="test")
    periodic = asyncio.create_task(Sealer(ledger.seal_pool, runtime, every_seconds=1, proof_every_seconds=0.01).prove())
    async with asyncio.timeout(SECONDS_MAX):
        while await commands.find_last_proof(ledger.pool) == before:
            await asyncio.sleep(0.02)

        await ledger.tamper("UPDATE last_proof SET checks = '[1]'")
        while metrics.PROVED._value.get() and not periodic.done():
            await asyncio.sleep(0.02)
    is_running = not periodic.done()
    runtime.stopping.set()
    await periodic

    assert is_running


async def test_drift_ends_with_the_last_account_of_its_currency(ledger: Ledger) -> None:
    """A forged account in a currency of its own is drift; when it has been removed no drift is exported."""
    await ledger.tamper(
        "INSERT INTO accounts (id, owner_id, currency, posted) VALUES (gen_random_uuid(), gen_random_uuid(), 'ZMW', 5)"
    )
    await ledger.verify()
    found = REGISTRY.get_sample_value("payflow_ledger_drift_minor_units", {"currency": "ZMW"})

    await ledger.tamper("DELETE FROM accounts WHERE currency = 'ZMW'")
    await ledger.verify()

    assert 5 == found
    assert REGISTRY.get_sample_value("payflow_ledger_drift_minor_units", {"currency": "ZMW"}) is None
    assert 0 == REGISTRY.get_sample_value("payflow_ledger_drift_minor_units", {"currency": "USD"})
