"""Changes of the history by an attacker with all rights on the database, and how they are detected."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg
import pytest

from services.contracts.identifiers import new_id
from services.wallet import commands, seal, store
from services.wallet.seal import Block, Head, Members
from tests.harness.databases import TestDatabase
from tests.harness.ledgers import fund
from tests.harness.sealed_ledgers import BLOCKS, Ledger, faults


async def test_a_genuine_history_is_verified(ledger: Ledger) -> None:
    """Nothing was changed: every check passes, with the newest head and with an older one."""
    head = await ledger.seal() if await ledger.post() else None
    assert head is not None

    assert {} == faults(await ledger.verify(head))
    assert head == (await ledger.verify()).head
    assert (await ledger.proof_pool.fetchval("SELECT count(*) FROM blocks")) == BLOCKS + 1 == head.number


BY_TRANSFER: dict[str, str] = {
    "amount": "UPDATE entries SET amount = amount - 1 WHERE transfer_id = $1 AND amount < 0",
    "balance after": "UPDATE entries SET balance_after = balance_after + 5 WHERE transfer_id = $1 AND amount > 0",
    "amount of the credit": "UPDATE entries SET amount = amount + 1 WHERE transfer_id = $1 AND amount > 0",
    "balance after the debit": "UPDATE entries SET balance_after = balance_after + 5 WHERE transfer_id = $1 AND amount < 0",
    "currency of the debit": "UPDATE entries SET currency = 'EUR' WHERE transfer_id = $1 AND amount < 0",
    "currency of the credit": "UPDATE entries SET currency = 'EUR' WHERE transfer_id = $1 AND amount > 0",
    "time of the debit": """UPDATE entries SET created_at = created_at + interval '1 microsecond'
                            WHERE transfer_id = $1 AND amount < 0""",
    "transfer of the credit": "UPDATE entries SET transfer_id = gen_random_uuid() WHERE transfer_id = $1 AND amount > 0",
    "recipient": "UPDATE outcomes SET destination_id = gen_random_uuid() WHERE transfer_id = $1",
    "currency of both entries": "UPDATE entries SET currency = 'EUR' WHERE transfer_id = $1",
    "time by a microsecond": """UPDATE entries SET created_at = created_at + interval '1 microsecond'
                                WHERE transfer_id = $1 AND amount > 0""",
    "time infinity": "UPDATE entries SET created_at = 'infinity' WHERE transfer_id = $1",
    "transfer of an entry": "UPDATE entries SET transfer_id = gen_random_uuid() WHERE transfer_id = $1 AND amount < 0",
    "an entry removed": "DELETE FROM entries WHERE transfer_id = $1 AND amount > 0",
    "both entries removed": "DELETE FROM entries WHERE transfer_id = $1",
    "outcome removed": "DELETE FROM outcomes WHERE transfer_id = $1",
    "posted made voided": """UPDATE outcomes SET outcome = 'voided', reason = 'cancelled', source_seq = null,
                             destination_seq = null WHERE transfer_id = $1""",
    "request": "UPDATE outcomes SET request_hash = sha256('other') WHERE transfer_id = $1",
    "description": "UPDATE outcomes SET description = 'rent' WHERE transfer_id = $1",
    "description made empty": "UPDATE outcomes SET description = '' WHERE transfer_id = $1",
    "time of the outcome": "UPDATE outcomes SET at = at - interval '1 day' WHERE transfer_id = $1",
    "outcome infinity": "UPDATE outcomes SET at = 'infinity' WHERE transfer_id = $1",
    "sender": "UPDATE outcomes SET source_id = gen_random_uuid() WHERE transfer_id = $1",
}


@pytest.mark.parametrize("action", BY_TRANSFER.values(), ids=BY_TRANSFER.keys())
async def test_a_change_names_the_transfer(ledger: Ledger, action: str) -> None:
    """Guarantee 16: any change of a sealed transfer, however small, is reported with the transfer and its block."""
    touched = ledger.posted[4]

    await ledger.tamper(action, touched)

    named = faults(await ledger.verify())["sealed_rows_unchanged"]
    assert f"transfer {touched} of block 2" in named
    assert 1 == named.count("transfer ")


async def amounts_with_balances(ledger: Ledger) -> str:
    """Both sides of the last transfer and both balances: the books agree afterwards."""
    touched = ledger.posted[-1]
    await ledger.tamper(
        "UPDATE entries SET amount = 2 * amount, balance_after = balance_after + amount WHERE transfer_id = $1", touched
    )
    await ledger.tamper("UPDATE accounts SET posted = posted - 10 WHERE id = $1", ledger.alice)
    await ledger.tamper("UPDATE accounts SET posted = posted + 10 WHERE id = $1", ledger.bob)
    return str(touched)


async def transfer_removed(ledger: Ledger) -> str:
    """The last transfer is removed, with balances and numbers adjusted."""
    touched = ledger.posted[-1]
    await ledger.tamper("DELETE FROM entries WHERE transfer_id = $1", touched)
    await ledger.tamper("DELETE FROM outcomes WHERE transfer_id = $1", touched)
    await ledger.tamper("UPDATE accounts SET posted = posted + 10, seq = seq - 1 WHERE id = $1", ledger.alice)
    await ledger.tamper("UPDATE accounts SET posted = posted - 10, seq = seq - 1 WHERE id = $1", ledger.bob)
    return f"transfer {touched} of block {BLOCKS} is missing"


async def entries_swapped(ledger: Ledger) -> str:
    """Two entries of one account are swapped: same amounts, same sums."""
    first, second = ledger.posted[0], ledger.posted[1]
    await ledger.tamper(
        """UPDATE entries SET transfer_id = CASE transfer_id WHEN $1 THEN $2 ELSE $1 END
           WHERE transfer_id IN ($1::uuid, $2::uuid)""",
        first,
        second,
    )
    return str(second)


async def reasons_swapped(ledger: Ledger) -> str:
    """The reasons of two rejections are swapped."""
    first, second = ledger.rejected[0], ledger.rejected[1]
    await ledger.tamper(
        """UPDATE outcomes
           SET reason = CASE reason WHEN 'insufficient_funds' THEN 'wallet_not_found' ELSE 'insufficient_funds' END
           WHERE transfer_id IN ($1::uuid, $2::uuid)""",
        first,
        second,
    )
    return str(first)


async def voided_made_posted(ledger: Ledger) -> str:
    """A voided transfer is posted afterwards, with entries and balances."""
    touched = ledger.voided[1]
    await ledger.tamper(
        """WITH ends AS (SELECT a.id AS alice, b.id AS bob, a.seq + 1 AS alice_seq, b.seq + 1 AS bob_seq
                         FROM accounts a, accounts b WHERE a.id = $2 AND b.id = $3),
           said AS (UPDATE outcomes SET outcome = 'posted', reason = null, source_id = alice, destination_id = bob,
                    source_seq = alice_seq, destination_seq = bob_seq FROM ends WHERE transfer_id = $1),
           written AS (INSERT INTO entries
                       SELECT id, seq + 1, $1, 'USD', sign * 7, posted + sign * 7, last_entry_at FROM accounts
                       JOIN (VALUES ($2::uuid, -1), ($3::uuid, 1)) AS sides (account, sign) ON account = id)
           UPDATE accounts SET seq = seq + 1, posted = posted + CASE id WHEN $2 THEN -7 ELSE 7 END WHERE id IN ($2, $3)""",
        touched,
        ledger.alice,
        ledger.bob,
    )
    return str(touched)


async def rejection_removed(ledger: Ledger) -> str:
    """A rejection leaves no trace in any balance."""
    await ledger.tamper("DELETE FROM outcomes WHERE transfer_id = $1", ledger.rejected[2])
    return f"transfer {ledger.rejected[2]} of block 2 is missing"


async def void_altered(ledger: Ledger) -> str:
    """A void has no account at all."""
    await ledger.tamper("UPDATE outcomes SET reason = 'timed_out' WHERE transfer_id = $1", ledger.voided[0])
    return str(ledger.voided[0])


async def owner_changed(ledger: Ledger) -> str:
    """The wallet and its balance belong to another user."""
    await ledger.tamper("UPDATE accounts SET owner_id = gen_random_uuid() WHERE id = $1", ledger.bob)
    return f"account {ledger.bob} of block 1 has changed since it was sealed"


async def account_currency_changed(ledger: Ledger) -> str:
    await ledger.tamper("UPDATE accounts SET currency = 'JPY' WHERE id = $1", ledger.bob)
    return f"account {ledger.bob} of block 1"


async def account_opened_earlier(ledger: Ledger) -> str:
    await ledger.tamper("UPDATE accounts SET created_at = created_at - interval '1 day' WHERE id = $1", ledger.bob)
    return f"account {ledger.bob} of block 1 has changed since it was sealed"


async def account_removed(ledger: Ledger) -> str:
    await ledger.tamper("DELETE FROM accounts WHERE id = $1", ledger.bob)
    return f"account {ledger.bob} of block 1 is missing"


@pytest.mark.parametrize(
    "action",
    [
        amounts_with_balances, transfer_removed, entries_swapped, reasons_swapped, voided_made_posted, rejection_removed,
        void_altered, owner_changed, account_currency_changed, account_opened_earlier, account_removed,
    ],
)  # fmt: skip
async def test_a_consistent_change_names_the_row(ledger: Ledger, action: Callable[[Ledger], Awaitable[str]]) -> None:
    """Guarantee 16: a change that keeps the books consistent, or changes no amount, is reported as well."""
    expected = await action(ledger)

    assert expected in faults(await ledger.verify())["sealed_rows_unchanged"]


async def test_consistent_changes_are_detected_by_the_blocks_alone(ledger: Ledger) -> None:
    """A consistent change of amounts, balances and accounts passes the checks of the books, but not those of the blocks."""
    await amounts_with_balances(ledger)

    assert ["sealed_rows_unchanged"] == list(faults(await ledger.verify()))


async def insert_transfer(ledger: Ledger, at: str) -> UUID:
    """A forged transfer, complete with outcome, entries and balances, between two idle wallets."""
    transfer_id = new_id()
    [source] = await fund(ledger.pool, [100])
    [target] = await fund(ledger.pool, [0])
    await ledger.seal()
    await ledger.tamper(
        f"""WITH moment AS (SELECT {at} AS at),
           said AS (INSERT INTO outcomes SELECT $1, 'posted', null, sha256('x'), $2, $3, 2, 1, null, at FROM moment),
           first AS (INSERT INTO entries SELECT $2, 2, $1, 'USD', -100, 0, greatest(at, created_at) FROM moment, entries
                     WHERE account_id = $2 AND seq = 1),
           second AS (INSERT INTO entries SELECT $3, 1, $1, 'USD', 100, 100, at FROM moment)
           UPDATE accounts SET posted = CASE id WHEN $2 THEN 0 ELSE 100 END, seq = CASE id WHEN $2 THEN 2 ELSE 1 END
           WHERE id IN ($2, $3)""",
        transfer_id,
        source,
        target,
    )
    return transfer_id


async def test_a_transfer_inserted_into_the_past_is_reported(ledger: Ledger) -> None:
    """A consistent transfer dated before the frontier: it is unsealed, reported as late, and not sealed afterwards."""
    slipped = await insert_transfer(ledger, "now() - interval '1 hour'")
    frontier = await ledger.superuser.fetchval("SELECT frontier FROM blocks ORDER BY number DESC LIMIT 1")
    await ledger.post()
    await ledger.seal()

    assert frontier is not None
    assert f"transfer {slipped} of " in faults(await ledger.verify())["nothing_came_late"]
    assert [] == await ledger.superuser.fetch("SELECT FROM blocks WHERE $1 = ANY (outcomes)", slipped)


async def balances_alone(ledger: Ledger) -> tuple[str, str]:
    await ledger.tamper("UPDATE accounts SET posted = posted + 1 WHERE id = $1", ledger.alice)
    return "balances_equal_entries", str(ledger.alice)


async def unsealed_amount(ledger: Ledger) -> tuple[str, str]:
    [fresh] = await ledger.post(1)
    await ledger.tamper("UPDATE entries SET amount = amount + 1 WHERE transfer_id = $1 AND amount > 0", fresh)
    return "transfers_balance", str(fresh)


async def unsealed_removed(ledger: Ledger) -> tuple[str, str]:
    [fresh] = await ledger.post(1)
    await ledger.tamper("DELETE FROM outcomes WHERE transfer_id = $1", fresh)
    return "outcomes_equal_entries", str(fresh)


async def entries_without_outcome(ledger: Ledger) -> tuple[str, str]:
    stray = new_id()
    await ledger.tamper(
        """INSERT INTO entries SELECT id, seq + 1, $1, 'USD', CASE id WHEN $2 THEN -1 ELSE 1 END, posted, last_entry_at
           FROM accounts WHERE id IN ($2, $3)""",
        stray,
        ledger.alice,
        ledger.bob,
    )
    return "outcomes_equal_entries", str(stray)


@pytest.mark.parametrize("action", [balances_alone, unsealed_amount, unsealed_removed, entries_without_outcome])
async def test_unsealed_rows_are_checked(
    ledger: Ledger, action: Callable[[Ledger], Awaitable[tuple[str, str]]]
) -> None:
    """Balances and unsealed rows: contradictions are reported by the checks of the books."""
    check, expected = await action(ledger)

    assert expected in faults(await ledger.verify())[check]


async def block_removed(ledger: Ledger) -> tuple[str, str]:
    await ledger.tamper("DELETE FROM blocks WHERE number = 2")
    return "blocks_unbroken", "block 2 is missing"


async def hash_rewritten(ledger: Ledger) -> tuple[str, str]:
    await ledger.tamper("UPDATE blocks SET hash = sha256('x') WHERE number = 2")
    return "blocks_unbroken", "block 2 does not match its hash; block 3 does not follow block 2"


async def time_of_block_rewritten(ledger: Ledger) -> tuple[str, str]:
    await ledger.tamper("UPDATE blocks SET sealed_at = '200000-01-01' WHERE number = 2")
    return "blocks_unbroken", "block 2 does not match its hash"


async def blocks_swapped(ledger: Ledger) -> tuple[str, str]:
    await ledger.tamper("UPDATE blocks SET number = 105 - number WHERE number IN (2, 3)")
    await ledger.tamper("UPDATE blocks SET number = number - 100 WHERE number > 100")
    return "blocks_unbroken", "block 2 does not follow block 1"


async def digest_rewritten(ledger: Ledger) -> tuple[str, str]:
    await amounts_with_balances(ledger)
    await ledger.tamper(
        f"UPDATE blocks SET outcome_digests = sha256('x') || substr(outcome_digests, 33) WHERE number = {BLOCKS}"
    )
    return "blocks_unbroken", f"block {BLOCKS} does not match its hash"


async def blocks_truncated(ledger: Ledger) -> tuple[str, str]:
    recorded = await ledger.superuser.fetchval("SELECT head_number FROM last_proof")
    await ledger.superuser.execute("ALTER TABLE blocks DISABLE TRIGGER ALL")
    await ledger.superuser.execute("TRUNCATE blocks")
    return "recorded_blocks_present", f"block {recorded} with hash "


async def latest_blocks_removed_with_their_rows(ledger: Ledger) -> tuple[str, str]:
    recorded = await ledger.superuser.fetchval("SELECT head_number FROM last_proof")
    await ledger.tamper("DELETE FROM blocks WHERE number >= $1", recorded)
    await transfer_removed(ledger)
    return "recorded_blocks_present", f"block {recorded} with hash "


@pytest.mark.parametrize(
    "action",
    [
        block_removed, hash_rewritten, time_of_block_rewritten, blocks_swapped, digest_rewritten, blocks_truncated,
        latest_blocks_removed_with_their_rows,
    ],
)  # fmt: skip
async def test_a_change_of_blocks_names_the_block(
    ledger: Ledger, action: Callable[[Ledger], Awaitable[tuple[str, str]]]
) -> None:
    """Removed, swapped or rewritten blocks are reported; the last run records the newest one."""
    check, expected = await action(ledger)

    assert expected in faults(await ledger.verify())[check]


async def rechain(ledger: Ledger, first: int) -> None:
    """Seal the current rows in the same blocks again, from this one on, as a skilled attacker would."""
    blocks = [entry for entry in await store.list_blocks(ledger.superuser, 0, 10**6) if entry[0].number >= first]
    previous = await ledger.superuser.fetchval("SELECT hash FROM blocks WHERE number = $1", first - 1)
    for block, _ in blocks:
        digests = await store.digest_outcomes(ledger.superuser, block.outcomes.ids)
        changed: Block = block._replace(previous=previous, outcomes=Members(block.outcomes.ids, digests))
        await ledger.tamper(
            "UPDATE blocks SET previous = $2, hash = $3, outcome_digests = $4 WHERE number = $1",
            block.number,
            previous,
            previous := seal.block_hash(changed),
            digests,
        )


async def test_a_rewritten_chain_is_detected_by_a_recorded_head(ledger: Ledger) -> None:
    """All blocks from an old one on are sealed again over altered rows: only a recorded later head reveals it."""
    row = await ledger.superuser.fetchrow("SELECT number, hash FROM blocks ORDER BY number DESC LIMIT 1")
    assert row is not None
    newest = Head(*row)
    await ledger.tamper("UPDATE outcomes SET description = 'rent' WHERE transfer_id = $1", ledger.posted[-1])
    await rechain(ledger, BLOCKS)

    unnoticed = await ledger.verify()
    noticed = await ledger.verify(newest)

    assert {} == faults(unnoticed)
    assert {"recorded_blocks_present": f"block {newest.number} with hash {newest.hash.hex()} is missing"} == faults(
        noticed
    )


async def test_a_lost_head_stays_recorded(ledger: Ledger) -> None:
    """A run that does not find the recorded block does not record the forged chain: the next run reports it as well."""
    await ledger.tamper("UPDATE outcomes SET description = 'rent' WHERE transfer_id = $1", ledger.posted[0])
    await ledger.tamper("UPDATE blocks SET previous = previous WHERE number = 1")
    await rechain(ledger, 2)
    await ledger.tamper("UPDATE blocks SET hash = sha256('x') WHERE number = $1", BLOCKS - 1)

    rounds = []
    for _ in range(2):
        rounds.append(await ledger.verify())
        await commands.record_proof(ledger.seal_pool, rounds[-1])

    assert all("recorded_blocks_present" in faults(proof) for proof in rounds)
    assert rounds[0].head == rounds[1].head


async def test_the_service_and_the_sealer_cannot_rewrite_blocks(ledger: Ledger, wallet_database: TestDatabase) -> None:
    """Guarantee 15: UPDATE, DELETE and TRUNCATE of blocks are refused to the service, the sealer and the owner."""
    for url in (wallet_database.service_url, wallet_database.seal_url, wallet_database.owner_url):
        connection = await asyncpg.connect(url)
        for action in ("UPDATE blocks SET hash = hash", "DELETE FROM blocks", "TRUNCATE blocks"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(action)
        await connection.close()


async def test_the_sealer_can_only_write_blocks(ledger: Ledger) -> None:
    """The sealer's role writes neither entries nor outcomes nor accounts, and the service's role no blocks."""
    for action in ("INSERT INTO entries DEFAULT VALUES", "DELETE FROM outcomes", "UPDATE accounts SET posted = 0"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ledger.seal_pool.execute(action)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await ledger.pool.execute("INSERT INTO blocks DEFAULT VALUES")


async def test_a_stopped_sealer_is_reported_separately(ledger: Ledger) -> None:
    """An outcome that is unsealed for more than 30 s: reported by a separate check, not as tampering."""
    waiting = new_id()
    await ledger.tamper(
        """INSERT INTO outcomes (transfer_id, outcome, reason, request_hash, at)
           VALUES ($1, 'voided', 'cancelled', sha256('x'), now() - interval '40 seconds')""",
        waiting,
    )
    await ledger.tamper("DELETE FROM blocks")
    await ledger.tamper("DELETE FROM last_proof")

    found = faults(await ledger.verify())

    assert ["sealing_keeps_up"] == list(found)
    assert str(waiting) in found["sealing_keeps_up"]
