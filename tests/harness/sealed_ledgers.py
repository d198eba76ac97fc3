"""A sealed history, and a superuser who changes it, bypassing every trigger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from services.chassis.database import Pool, close_pool
from services.contracts.identifiers import new_id
from services.wallet import commands
from services.wallet.app import PLANNER
from services.wallet.commands import Void
from services.wallet.commands_admission import admit_outcome
from services.wallet.proof import verify
from services.wallet.seal import Head
from services.wallet.store import Proof
from services.wallet.store_admission import Admission
from tests.harness.databases import TestDatabase
from tests.harness.ledgers import fund, post, posting

BLOCKS = 4

OPERATOR = new_id()
REASON = "the clock of the server was set back"


@dataclass
class Ledger:
    """A sealed history of `BLOCKS` blocks; the last proof run was recorded after the second to last block."""

    pool: Pool
    seal_pool: Pool
    proof_pool: Pool
    superuser: asyncpg.Connection
    alice: UUID
    bob: UUID
    posted: list[UUID]
    rejected: list[UUID]
    voided: list[UUID]

    async def seal(self, *, with_accounts: bool = True) -> Head:
        """Seal once; return the newest block."""
        sealed = await commands.seal_rows(
            self.seal_pool, recorded_head=None, thorough=True, with_accounts=with_accounts
        )
        assert sealed.head is not None
        return sealed.head

    async def verify(self, head: Head | None = None) -> Proof:
        """Run the proof."""
        return await verify(self.proof_pool, head)

    async def tamper(self, statement: str, *arguments: object) -> None:
        """Execute as the superuser, bypassing every trigger."""
        async with self.superuser.transaction():
            await self.superuser.execute("SET LOCAL session_replication_role = replica")
            changed = await self.superuser.execute(statement, *arguments)
        assert not changed.endswith(" 0"), changed

    async def post(self, count: int = 3) -> list[UUID]:
        """Post transfers of 10 from Alice to Bob, not yet sealed; return their ids."""
        items = [posting(self.alice, self.bob, 10) for _ in range(count)]
        assert {"posted"} == set(await post(self.pool, *items))
        return [item.transfer_id for item in items]


@asynccontextmanager
async def sealed_ledger(wallet_database: TestDatabase) -> AsyncIterator[Ledger]:
    """A ledger with a sealed history in a fresh database."""
    pool = await wallet_database.pool(**PLANNER)
    seal_pool = await wallet_database.pool(wallet_database.seal_url)
    proof_pool = await wallet_database.pool(wallet_database.proof_url)
    superuser = await asyncpg.connect(wallet_database.superuser_url)
    alice, bob = await fund(pool, [10_000, 0])
    made = Ledger(pool, seal_pool, proof_pool, superuser, alice, bob, [], [], [])
    for number in range(BLOCKS):
        made.posted += await made.post()
        rejected = [posting(alice, bob, 10**9), posting(alice, new_id(), 1)]
        await post(pool, *rejected)
        made.rejected += [item.transfer_id for item in rejected]
        voids = [Void(new_id(), "cancelled", bytes(32)), Void(new_id(), "timed_out", bytes(32))]
        await commands.void_transfers(pool, voids)
        made.voided += [void.transfer_id for void in voids]
        await made.seal()
        if number == BLOCKS - 2:
            await commands.record_proof(seal_pool, await made.verify())
    yield made
    await superuser.close()
    for opened in (pool, seal_pool, proof_pool):
        await close_pool(opened)


def faults(proof: Proof) -> dict[str, str]:
    """The failed checks and their contradictions."""
    assert proof.ok == all(check.ok for check in proof.checks)
    return {check.name: check.detail for check in proof.checks if not check.ok}


async def admit(ledger: Ledger, transfer_id: UUID, reason: str = REASON) -> Admission:
    """Admit a late outcome as an operator."""
    return await admit_outcome(
        ledger.pool, transfer_id, reason=reason, operator_id=OPERATOR, request_id="the-request-1"
    )


async def late_void(ledger: Ledger) -> UUID:
    """A void from before the frontier, unsealed."""
    late = new_id()
    await commands.void_transfers(ledger.pool, [Void(late, "cancelled", bytes(32))])
    await ledger.tamper("UPDATE outcomes SET at = at - interval '1 hour' WHERE transfer_id = $1", late)
    return late
