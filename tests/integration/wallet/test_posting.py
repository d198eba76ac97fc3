"""Posting and voiding on a real PostgreSQL: the outcome record and the ledger."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from uuid import UUID

from services.chassis import database
from services.chassis.database import DatabaseUnavailable, Pool
from services.contracts.identifiers import new_id
from services.wallet import commands, store
from services.wallet.commands import Void
from services.wallet.ledger import Posting
from tests.harness.ledgers import balance, fund, post, posting, random_posting


async def void(pool: Pool, item: Posting, reason: str = "timed_out") -> str:
    [result] = await commands.void_transfers(pool, [Void(item.transfer_id, reason, item.request_hash)])
    return result.outcome


async def entries_of(pool: Pool, transfer_id: UUID) -> int:
    return await pool.fetchval("SELECT count(*) FROM entries WHERE transfer_id = $1", transfer_id)


async def test_posting_moves_money_once(pool: Pool) -> None:
    """A posted transfer debits one account and credits the other; the same id again moves nothing."""
    alice, bob = await fund(pool, [1000, 0])
    item = posting(alice, bob, 300)

    first = await post(pool, item)
    again = await post(pool, item, item)

    assert ["posted"] == first
    assert ["posted", "posted"] == again
    assert (700, 300) == (await balance(pool, alice), await balance(pool, bob))
    assert 2 == await entries_of(pool, item.transfer_id)


async def test_a_credit_above_the_limit_is_rejected_for_good(pool: Pool) -> None:
    """Guarantee 16c: a user's balance ends at 2^53 - 1; what would exceed it is rejected, and stays so when there is room."""
    limit = 9_007_199_254_740_991
    full, alice = await fund(pool, [limit - 1, 100])
    refused = posting(alice, full, 2)

    outcomes = await post(pool, refused, posting(alice, full, 1), posting(alice, full, 1))
    at_the_limit = await balance(pool, full)
    outcomes += await post(pool, posting(full, alice, 50), refused, posting(alice, full, 2))

    assert ["rejected:balance_limit", "posted", "rejected:balance_limit"] == outcomes[:3]
    assert ["posted", "rejected:balance_limit", "posted"] == outcomes[3:]
    assert limit == at_the_limit == int(float(at_the_limit))
    assert (limit - 48, 147) == (await balance(pool, full), await balance(pool, alice))


async def test_a_recorded_rejection_stays(pool: Pool) -> None:
    """Guarantee 5: rejected for funds, topped up, sent five times more: it stays rejected and no money moves."""
    alice, bob = await fund(pool, [10, 0])
    item = posting(alice, bob, 500)

    first = await post(pool, item)
    [rich] = await fund(pool, [1000])
    await post(pool, posting(rich, alice, 1000))
    later = [result for _ in range(5) for result in await post(pool, item)]

    assert ["rejected:insufficient_funds"] == first
    assert ["rejected:insufficient_funds"] * 5 == later
    assert 1010 == await balance(pool, alice)


async def test_late_transfer_is_voided_by_the_ledgers_clock(pool: Pool) -> None:
    """A new id past its expiry is recorded as voided, timed out; an id that was posted in time stays posted."""
    alice, bob = await fund(pool, [100, 0])
    late = posting(alice, bob, 10, seconds=-1)
    posted = posting(alice, bob, 10)

    await post(pool, posted)
    results = await post(pool, late, posted._replace(expires_at=late.expires_at))

    assert ["voided:timed_out", "posted"] == results
    assert 90 == await balance(pool, alice)


async def test_same_id_with_another_amount_is_a_conflict(pool: Pool) -> None:
    """Guarantee 10: the same transfer id with another request hash is a conflict and moves nothing; void is no way round."""
    alice, bob = await fund(pool, [100, 0])
    item = posting(alice, bob, 10)
    forged = posting(alice, bob, 99, transfer_id=item.transfer_id)

    await post(pool, item)
    results = await post(pool, forged)

    assert ["conflict"] == results
    assert "conflict" == await void(pool, forged)
    assert 90 == await balance(pool, alice)


async def test_a_bad_item_fails_alone(pool: Pool) -> None:
    """Guarantee 16b: one unaffordable transfer in a batch of 256 fails alone; the same id twice in a batch is posted once."""
    alice, poor, bob = await fund(pool, [10_000, 5, 0])
    good = [posting(alice, bob, 1) for _ in range(254)]
    bad = posting(poor, bob, 6)
    duplicate = good[17]

    results = await post(pool, *good[:100], bad, *good[100:], duplicate)

    assert "rejected:insufficient_funds" == results[100]
    assert ["posted"] * 255 == results[:100] + results[101:]
    assert 254 == await balance(pool, bob)


async def test_every_refusal_has_its_reason(pool: Pool) -> None:
    """Unknown, wrong currency, frozen, unaffordable: each is recorded with the reason that comes first."""
    alice, bob = await fund(pool, [100, 0])
    [euro] = await fund(pool, [100], currency="EUR")
    [frozen] = await fund(pool, [100])
    await commands.set_frozen(pool, frozen, frozen=True, operator_id=new_id(), request_id="test")

    results = await post(
        pool,
        posting(new_id(), bob, 1),
        posting(alice, new_id(), 1),
        posting(alice, euro, 1),
        posting(frozen, bob, 1),
        posting(alice, frozen, 1),
        posting(alice, bob, 101),
    )

    assert [
        "rejected:wallet_not_found",
        "rejected:wallet_not_found",
        "rejected:currency_mismatch",
        "rejected:wallet_frozen",
        "rejected:wallet_frozen",
        "rejected:insufficient_funds",
    ] == results


async def test_spending_a_balance_fifty_times_at_once(pool: Pool) -> None:
    """Guarantee 13: 50 parallel transfers of the full balance; exactly one is posted."""
    alice, bob = await fund(pool, [500, 0])

    async def spend(item: Posting) -> list[str]:
        # Fifty at once may wait for a connection longer than they are allowed to; the same id may be sent again.
        while True:
            try:
                return await post(pool, item)
            except DatabaseUnavailable:
                await asyncio.sleep(0.05)

    results = await asyncio.gather(*(spend(posting(alice, bob, 500)) for _ in range(50)))

    assert Counter({"rejected:insufficient_funds": 49, "posted": 1}) == Counter(a for [a] in results)


async def test_opposite_transfers_never_deadlock(pool: Pool) -> None:
    """Guarantee 12, short form: batches of opposite transfers at once; none gets `retry`, and the sum is right."""
    alice, bob, carol = await fund(pool, [10_000, 10_000, 10_000])
    wallets = [alice, bob, carol]
    rng = random.Random(5)

    async def batches() -> list[str]:
        returned: list[str] = []
        for _ in range(20):
            pairs = [rng.sample(wallets, 2) for _ in range(10)]
            returned += await post(pool, *(posting(a, b, rng.randint(1, 50)) for a, b in pairs))
        return returned

    results = [result for returned in await asyncio.gather(*(batches() for _ in range(10))) for result in returned]

    assert {"posted"} == set(results)
    assert 30_000 == sum([await balance(pool, wallet) for wallet in wallets])


async def test_sum_is_constant_in_every_snapshot(pool: Pool) -> None:
    """Guarantee 11, short form: while transfers run, every snapshot of all balances has the same sum."""
    wallets = await fund(pool, [1000] * 8)
    rng = random.Random(7)
    done = asyncio.Event()

    async def move() -> None:
        for _ in range(60):
            await post(pool, *(random_posting(rng, wallets, 300) for _ in range(16)))

    async def read() -> set[tuple[int, int]]:
        sums = set()
        while not done.is_set():
            async with database.snapshot(pool) as connection:
                customers = await connection.fetchval(
                    "SELECT sum(posted)::bigint FROM accounts WHERE owner_id IS NOT NULL"
                )
                lines = await connection.fetchval("SELECT sum(amount)::bigint FROM entries")
            sums.add((customers, lines))
        return sums

    readers = [asyncio.create_task(read()) for _ in range(2)]
    await asyncio.gather(*(move() for _ in range(4)))
    done.set()

    assert [{(8000, 0)}] * 2 == [await reader for reader in readers]


async def test_a_hot_account_does_not_hold_up_a_void(pool: Pool) -> None:
    """A void locks no account: it returns while another transaction holds the row of the account."""
    alice, bob = await fund(pool, [100, 0])
    item = posting(alice, bob, 10)

    async with pool.acquire() as holder, holder.transaction():
        await store.lock_accounts(holder, [alice, bob])
        async with asyncio.timeout(30):
            returned = await void(pool, item)

    assert "voided" == returned
    assert ["voided:timed_out"] == await post(pool, item)


async def test_an_account_held_too_long_answers_retry(pool: Pool) -> None:
    """An item whose account is not free in time gets `retry`; another item of the batch is posted."""
    alice, bob, carol = await fund(pool, [100, 100, 0])

    async with pool.acquire() as holder, holder.transaction():
        await store.lock_accounts(holder, [alice])
        results = await post(pool, posting(alice, carol, 1), posting(bob, carol, 1))

    assert ["retry", "posted"] == results
