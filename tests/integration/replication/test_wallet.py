"""Guarantee 33b: the wallet service: results that depend on rows found are returned only when these are replicated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from services.chassis.database import Connection, Pool, close_pool, open_pool
from services.contracts.identifiers import new_id
from services.wallet import commands, proof, store_admission
from services.wallet.commands import Sealed, Void
from services.wallet.commands_admission import admit_outcome
from services.wallet.seal import Head
from services.wallet.store import Proof
from services.wallet.store_admission import Admission
from tests.harness.ledgers import fund, post, posting
from tests.harness.standby import Pair


@pytest.fixture
def service() -> str:
    return "wallet"


@pytest.fixture
async def seal_pool(pair: Pair) -> AsyncIterator[Pool]:
    url = pair.primary.dsn("wallet", "payflow_wallet_seal")
    opened = await open_pool(url, name="test", size_max=2)
    yield opened
    pair.resume()
    await close_pool(opened)


async def seal(pool: Pool, recorded: Head | None) -> Sealed:
    return await commands.seal_rows(pool, recorded_head=recorded, thorough=True, with_accounts=True)


async def admit(pool: Pool, transfer_id: UUID) -> Admission:
    return await admit_outcome(pool, transfer_id, reason="genuine", operator_id=new_id(), request_id="r")


async def seal_all(pool: Pool) -> Head | None:
    """Seal the rows of other tests; the newest block."""
    while (sealed := await seal(pool, None)).more:
        pass
    return sealed.head


async def test_posted_before(pair: Pair, pool: Pool) -> None:
    """A posting whose outcome is recorded gets it once it is replicated."""
    source, destination = await fund(pool, [100, 0])
    item = posting(source, destination, 10)
    await pair.leave_unknown(lambda: post(pool, item))
    assert ["posted"] == await pair.after_replication(lambda: post(pool, item))


async def test_rejected_before(pair: Pair, pool: Pool) -> None:
    """The same holds where no account is locked, because there is none."""
    item = posting(new_id(), new_id(), 10)
    await pair.leave_unknown(lambda: post(pool, item))
    assert ["rejected:wallet_not_found"] == await pair.after_replication(lambda: post(pool, item))


async def test_voided_before(pair: Pair, pool: Pool) -> None:
    """A void of a transfer that has its outcome gets it once it is replicated."""
    source, destination = await fund(pool, [100, 0])
    item = posting(source, destination, 10)
    void = Void(item.transfer_id, "timed_out", item.request_hash)
    await pair.leave_unknown(lambda: post(pool, item))
    [result] = await pair.after_replication(lambda: commands.void_transfers(pool, [void]))
    assert "posted" == result.outcome


async def test_wallet_opened_before(pair: Pair, pool: Pool) -> None:
    """Opening a wallet that is open already returns it once it is replicated."""
    owner = new_id()
    await pair.leave_unknown(lambda: commands.open_wallet(pool, owner_id=owner, currency="EUR"))
    wallet, opened = await pair.after_replication(lambda: commands.open_wallet(pool, owner_id=owner, currency="EUR"))
    assert (owner, False) == (wallet.owner_id, opened)


async def test_wallets_listed(pair: Pair, pool: Pool) -> None:
    """A wallet that the first list opened is returned once it is replicated; from then on a list is a plain read."""
    owner = new_id()
    await pair.leave_unknown(lambda: commands.list_wallets(pool, pool, owner))
    [wallet] = await pair.after_replication(lambda: commands.list_wallets(pool, pool, owner))
    await pair.lose_standby()
    assert [wallet] == await commands.list_wallets(pool, pool, owner)


async def test_accounts_found(pair: Pair, pool: Pool) -> None:
    """The transaction service gets an account once it is replicated: it stores it permanently."""
    owner = new_id()

    async def find() -> list[object]:
        return list(await commands.find_accounts(pool, ids=[], owners=[(owner, "USD")], external=[]))

    await pair.leave_unknown(find)
    [account] = await pair.after_replication(find)
    await pair.lose_standby()
    assert [account] == await find()


async def test_frozen_before(pair: Pair, pool: Pool) -> None:
    """Freezing a frozen wallet succeeds once that is replicated."""
    [wallet] = await fund(pool, [0])

    async def freeze() -> bool:
        frozen = await commands.set_frozen(pool, wallet, frozen=True, operator_id=new_id(), request_id="r")
        return frozen.frozen

    await pair.leave_unknown(freeze)
    assert await pair.after_replication(freeze)


async def late_void(pair: Pair, pool: Pool, seal_pool: Pool) -> UUID:
    """A void from before the frontier, unsealed."""
    for _ in range(2):
        await post(pool, posting(new_id(), new_id(), 10))
        await seal_all(seal_pool)
    late = new_id()
    await commands.void_transfers(pool, [Void(late, "cancelled", bytes(32))])
    superuser = await asyncpg.connect(pair.primary.dsn("wallet"))
    try:
        await superuser.execute("SET session_replication_role = replica")
        await superuser.execute("UPDATE outcomes SET at = at - interval '1 hour' WHERE transfer_id = $1", late)
    finally:
        await superuser.close()
    return late


async def test_admitted_before(pair: Pair, pool: Pool, seal_pool: Pool) -> None:
    """An admission that is recorded is returned once it is replicated."""
    late = await late_void(pair, pool, seal_pool)
    await pair.leave_unknown(lambda: admit(pool, late))
    assert late == (await pair.after_replication(lambda: admit(pool, late))).transfer_id


async def test_admitted_meanwhile(pair: Pair, pool: Pool, seal_pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same holds for an admission that a concurrent request recorded after the look-up of this one."""
    late = await late_void(pair, pool, seal_pool)
    await pair.leave_unknown(lambda: admit(pool, late))
    find = store_admission.find_admission

    async def find_nothing(_connection: Connection, _transfer_id: UUID) -> None:
        monkeypatch.setattr(store_admission, "find_admission", find)

    monkeypatch.setattr(store_admission, "find_admission", find_nothing)
    assert late == (await pair.after_replication(lambda: admit(pool, late))).transfer_id


async def test_sealed_before(pair: Pair, pool: Pool, seal_pool: Pool) -> None:
    """The sealer gets the newest head once it is replicated: it is recorded outside the database from then on."""
    recorded = await seal_all(seal_pool)
    await post(pool, posting(new_id(), new_id(), 10))
    await pair.leave_unknown(lambda: seal(seal_pool, recorded))
    sealed = await pair.after_replication(lambda: seal(seal_pool, recorded))
    assert sealed.head is not None
    assert sealed.head != recorded
    await pair.lose_standby()
    assert sealed == await seal(seal_pool, sealed.head)


async def test_proof_of_a_new_block(pair: Pair, pool: Pool, seal_pool: Pool) -> None:
    """A proof names a block once it is replicated."""
    recorded = await seal_all(seal_pool)
    await post(pool, posting(new_id(), new_id(), 10))
    await pair.leave_unknown(lambda: seal(seal_pool, recorded))
    proved = await pair.after_replication(lambda: proof.verify(seal_pool))
    assert proved.head != recorded


async def test_last_proof(pair: Pair, pool: Pool, seal_pool: Pool) -> None:
    """The last proof is returned once it is replicated."""
    proved = Proof(ok=True, at=datetime.now(UTC), checks=[], head=await seal_all(seal_pool))
    await pair.leave_unknown(lambda: commands.record_proof(seal_pool, proved))
    assert proved == await pair.after_replication(lambda: commands.find_last_proof(pool))
