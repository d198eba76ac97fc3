"""Late outcomes that an operator admits: sealed once, audited, and protected from then on like every other outcome."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from services.contracts.identifiers import new_id
from services.contracts.refusal import Refusal
from services.contracts.refusals.wallet import OutcomeNotFound, OutcomeNotLate
from tests.harness.ledgers import post, posting
from tests.harness.sealed_ledgers import OPERATOR, REASON, Ledger, admit, faults, late_void


async def blocks_of(ledger: Ledger, transfer_id: UUID) -> list[int]:
    rows = await ledger.superuser.fetch(
        "SELECT number FROM blocks WHERE $1 = ANY (outcomes) ORDER BY number", transfer_id
    )
    return [row["number"] for row in rows]


async def actions(ledger: Ledger) -> list[tuple[object, ...]]:
    rows = await ledger.pool.fetch(
        "SELECT action, actor_id, transfer_id, detail::text, request_id FROM audit_log ORDER BY id"
    )
    return [tuple(row) for row in rows]


async def test_an_admitted_outcome_is_sealed_once(ledger: Ledger) -> None:
    """A late outcome fails the proof; admitted, the next block seals it, later blocks do not, and the proof passes."""
    late = await late_void(ledger)
    before = faults(await ledger.verify())
    fresh = await ledger.post()

    admission = await admit(ledger, late)
    head = await ledger.seal()
    await ledger.post()
    await ledger.seal()

    assert ["nothing_came_late"] == list(before)
    assert admission.block is None
    assert [head.number] == await blocks_of(ledger, late) == await blocks_of(ledger, fresh[0])
    assert head.number == (await admit(ledger, late)).block
    assert {} == faults(await ledger.verify())


async def test_an_admitted_outcome_alone_makes_a_block(ledger: Ledger) -> None:
    """Without any other unsealed row the outcome is sealed too, and a later change of it is reported."""
    await ledger.seal()
    late = await late_void(ledger)
    await admit(ledger, late)
    head = await ledger.seal(with_accounts=False)
    await ledger.seal(with_accounts=False)

    sealed, passed = await blocks_of(ledger, late), faults(await ledger.verify())
    await ledger.tamper("UPDATE outcomes SET reason = 'timed_out' WHERE transfer_id = $1", late)

    assert ([head.number], {}) == (sealed, passed)
    assert f"transfer {late} of block {head.number}" in faults(await ledger.verify())["sealed_rows_unchanged"]


async def test_an_admission_is_audited_once(ledger: Ledger) -> None:
    """Repeated, also at the same time and with another reason, there is one admission and one audit entry."""
    late = await late_void(ledger)

    admitted = await asyncio.gather(*(admit(ledger, late) for _ in range(5)))
    again = await admit(ledger, late, "another reason")

    assert {(late, REASON, OPERATOR, again.at, None)} == set(map(tuple, [*admitted, again]))
    assert [("outcome_admitted", OPERATOR, late, f'{{"reason": "{REASON}"}}', "the-request-1")] == await actions(ledger)


@pytest.mark.parametrize(
    ("which", "refusal"), [("sealed", OutcomeNotLate), ("unsealed", OutcomeNotLate), ("unknown", OutcomeNotFound)]
)
async def test_only_late_outcomes_are_admitted(ledger: Ledger, which: str, refusal: type[Refusal]) -> None:
    """An outcome that is sealed, or that the sealer will find, and an unknown transfer: refused, and nothing is recorded."""
    item = posting(ledger.alice, ledger.bob, 10)
    assert ["posted"] == await post(ledger.pool, item)
    transfer_id = {"sealed": ledger.posted[0], "unsealed": item.transfer_id, "unknown": new_id()}[which]

    with pytest.raises(refusal):
        await admit(ledger, transfer_id)

    assert 0 == await ledger.pool.fetchval("SELECT count(*) FROM admissions")
    assert [] == await actions(ledger)
