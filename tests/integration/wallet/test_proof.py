"""Each check of the proof, one at a time: a fault that this check finds, and the checks that it implies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest

from services.contracts.identifiers import new_id
from services.wallet import chain, commands
from services.wallet.proof import CHECKS_TOTAL, verify
from services.wallet.seal import Head
from tests.harness.ledgers import fund, post, posting
from tests.harness.sealed_ledgers import BLOCKS, Ledger, admit, faults, late_void

Fault = Callable[[Ledger], Awaitable[str]]
"""Change the ledger; what the details of the failed checks must name."""


async def money_appears(ledger: Ledger) -> str:
    """A credit larger than its debit, with the balances to match."""
    [fresh] = await ledger.post(1)
    await ledger.tamper(
        "UPDATE entries SET amount = amount + 1, balance_after = balance_after + 1 WHERE transfer_id = $1 AND amount > 0",
        fresh,
    )
    await ledger.tamper("UPDATE accounts SET posted = posted + 1 WHERE id = $1", ledger.bob)
    return "USD"


async def two_transfers_unequal(ledger: Ledger) -> str:
    """One transfer debits one too much and the next one too little: every sum over the ledger is as before."""
    first, second = await ledger.post(2)
    await ledger.tamper(
        "UPDATE entries SET amount = amount - 1, balance_after = balance_after - 1 WHERE transfer_id = $1 AND amount < 0",
        first,
    )
    await ledger.tamper("UPDATE entries SET amount = amount + 1 WHERE transfer_id = $1 AND amount < 0", second)
    return str(first)


async def four_entries_of_one_transfer(ledger: Ledger) -> str:
    """The entries of two transfers under one id."""
    first, second = await ledger.post(2)
    await ledger.tamper("UPDATE entries SET transfer_id = $1 WHERE transfer_id = $2", first, second)
    await ledger.tamper("DELETE FROM outcomes WHERE transfer_id = $1", second)
    return str(first)


async def two_currencies_in_one_transfer(ledger: Ledger) -> str:
    """A transfer in USD and one in EUR of the same amount exchange their credits."""
    eva, finn = await fund(ledger.pool, [100, 0], currency="EUR")
    dollars, euros = posting(ledger.alice, ledger.bob, 10), posting(eva, finn, 10, currency="EUR")
    assert ["posted", "posted"] == await post(ledger.pool, dollars, euros)
    ids = (dollars.transfer_id, euros.transfer_id)
    await ledger.tamper(
        """UPDATE entries SET transfer_id = CASE transfer_id WHEN $1 THEN $2 ELSE $1 END
           WHERE transfer_id IN ($1::uuid, $2::uuid) AND amount > 0""",
        *ids,
    )
    await ledger.tamper(
        """UPDATE outcomes SET destination_id = other.destination_id, destination_seq = other.destination_seq
           FROM outcomes AS other
           WHERE outcomes.transfer_id IN ($1::uuid, $2::uuid) AND other.transfer_id IN ($1::uuid, $2::uuid)
             AND other.transfer_id <> outcomes.transfer_id""",
        *ids,
    )
    return str(dollars.transfer_id)


async def balance_alone(ledger: Ledger) -> str:
    """A balance without an entry for it."""
    await ledger.tamper("UPDATE accounts SET posted = posted + 1 WHERE id = $1", ledger.alice)
    return str(ledger.alice)


async def held_without_a_hold(ledger: Ledger) -> str:
    """One minor unit of a balance is held, and there is no hold."""
    await ledger.tamper("UPDATE accounts SET held = held + 1 WHERE id = $1", ledger.alice)
    return str(ledger.alice)


async def number_alone(ledger: Ledger) -> str:
    """An account whose number is ahead of its entries."""
    await ledger.tamper("UPDATE accounts SET seq = seq + 1 WHERE id = $1", ledger.alice)
    return str(ledger.alice)


async def move_last_entry(ledger: Ledger) -> None:
    """Leave a gap before Alice's last entry."""
    [fresh] = await ledger.post(1)
    await ledger.tamper("UPDATE entries SET seq = seq + 1 WHERE transfer_id = $1 AND amount < 0", fresh)
    await ledger.tamper("UPDATE outcomes SET source_seq = source_seq + 1 WHERE transfer_id = $1", fresh)


async def gap_that_the_account_counts(ledger: Ledger) -> str:
    """The account's number is that of its last entry, and there is one entry less."""
    await move_last_entry(ledger)
    await ledger.tamper("UPDATE accounts SET seq = seq + 1 WHERE id = $1", ledger.alice)
    return str(ledger.alice)


async def gap_that_the_account_does_not_count(ledger: Ledger) -> str:
    """The account's number is that of how many entries it has, and the last one has a higher number."""
    await move_last_entry(ledger)
    return str(ledger.alice)


async def balance_after_one_entry(ledger: Ledger) -> str:
    """A balance after an entry that does not follow from the one before."""
    first, _ = await ledger.post(2)
    await ledger.tamper(
        "UPDATE entries SET balance_after = balance_after + 5 WHERE transfer_id = $1 AND amount < 0", first
    )
    return str(ledger.alice)


async def entry_dated_back(ledger: Ledger) -> str:
    """An entry that is older than the one before it."""
    [fresh] = await ledger.post(1)
    await ledger.tamper(
        "UPDATE entries SET created_at = created_at - interval '1 day' WHERE transfer_id = $1 AND amount < 0", fresh
    )
    return str(ledger.alice)


async def entries_in_a_foreign_currency(ledger: Ledger) -> str:
    """Both entries of a transfer in a currency that neither account has."""
    [fresh] = await ledger.post(1)
    await ledger.tamper("UPDATE entries SET currency = 'EUR' WHERE transfer_id = $1", fresh)
    return str(ledger.bob)


async def overdrawn_for_a_while(ledger: Ledger) -> str:
    """A user's account is negative between two transfers, and valid before and after."""
    there, back = posting(ledger.alice, ledger.bob, 10), posting(ledger.bob, ledger.alice, 10)
    assert ["posted", "posted"] == await post(ledger.pool, there, back)
    more = 10**6
    for transfer_id, shift in ((there.transfer_id, more), (back.transfer_id, 0)):
        await ledger.tamper(
            """UPDATE entries SET amount = amount + sign(amount) * $2, balance_after = balance_after + CASE account_id
               WHEN $3 THEN -$4::bigint ELSE $4::bigint END WHERE transfer_id = $1""",
            transfer_id,
            more,
            ledger.alice,
            shift,
        )
    return str(ledger.alice)


async def outcome_missing(ledger: Ledger) -> str:
    """Entries without an outcome."""
    [fresh] = await ledger.post(1)
    await ledger.tamper("DELETE FROM outcomes WHERE transfer_id = $1", fresh)
    return str(fresh)


async def entries_missing(ledger: Ledger) -> str:
    """A posted outcome without entries."""
    stray = new_id()
    await ledger.tamper(
        """INSERT INTO outcomes SELECT $1, 'posted', null, sha256('x'), $2, $3, 1, 1, null, clock_timestamp()""",
        stray,
        ledger.alice,
        ledger.bob,
    )
    return str(stray)


async def outcome_points_elsewhere(ledger: Ledger) -> str:
    """Two outcomes that reference the debit of each other."""
    first, second = await ledger.post(2)
    await ledger.tamper(
        """UPDATE outcomes SET source_seq = other.source_seq FROM outcomes AS other
           WHERE outcomes.transfer_id IN ($1::uuid, $2::uuid) AND other.transfer_id IN ($1::uuid, $2::uuid)
             AND other.transfer_id <> outcomes.transfer_id""",
        first,
        second,
    )
    return str(first)


async def admitted(ledger: Ledger) -> UUID:
    """A late outcome that an operator admitted."""
    late = await late_void(ledger)
    await admit(ledger, late)
    await ledger.seal()
    return late


async def admission_without_audit_entry(ledger: Ledger) -> str:
    """An admission whose entry in the audit log is removed."""
    late = await admitted(ledger)
    await ledger.tamper("DELETE FROM audit_log WHERE transfer_id = $1", late)
    return str(late)


async def admission_removed(ledger: Ledger) -> str:
    """An audit entry whose admission is removed."""
    late = await admitted(ledger)
    await ledger.tamper("DELETE FROM admissions WHERE transfer_id = $1", late)
    return str(late)


async def reason_of_an_admission_changed(ledger: Ledger) -> str:
    """An admission for another reason than the one in the audit log."""
    late = await admitted(ledger)
    await ledger.tamper("UPDATE admissions SET reason = 'a genuine one' WHERE transfer_id = $1", late)
    return str(late)


async def operator_of_an_admission_changed(ledger: Ledger) -> str:
    """An admission by another operator than the one in the audit log."""
    late = await admitted(ledger)
    await ledger.tamper("UPDATE admissions SET operator_id = gen_random_uuid() WHERE transfer_id = $1", late)
    return str(late)


async def block_rewritten(ledger: Ledger) -> str:
    """A block that does not match its hash."""
    await ledger.tamper("UPDATE blocks SET sealed_at = sealed_at + interval '1 microsecond' WHERE number = 2")
    return "block 2"


async def recorded_head_gone(ledger: Ledger) -> str:
    """The block that the last run recorded has another hash."""
    await ledger.tamper("UPDATE last_proof SET head_hash = sha256('x')")
    return f"block {BLOCKS - 1}"


async def sealed_row_changed(ledger: Ledger) -> str:
    """A change that no check of the books covers."""
    await ledger.tamper("UPDATE outcomes SET description = 'rent' WHERE transfer_id = $1", ledger.posted[0])
    return str(ledger.posted[0])


async def row_of_a_closed_time(ledger: Ledger) -> str:
    """An unsealed void from before the frontier."""
    late = new_id()
    await ledger.tamper(
        """INSERT INTO outcomes (transfer_id, outcome, reason, request_hash, at)
           VALUES ($1, 'voided', 'cancelled', sha256('x'), now() - interval '1 hour')""",
        late,
    )
    return str(late)


async def account_never_sealed(ledger: Ledger) -> str:
    """An account that is unsealed for longer than the grace period."""
    waiting = new_id()
    await ledger.tamper(
        """INSERT INTO accounts (id, owner_id, currency, created_at)
           VALUES ($1, gen_random_uuid(), 'USD', now() - $2::interval - interval '1 minute')""",
        waiting,
        chain.ACCOUNT_GRACE,
    )
    return str(waiting)


FAULTS: dict[Fault, set[str]] = {
    # A wrong total implies a wrong transfer.
    money_appears: {"entries_sum_to_zero", "transfers_balance"},
    two_transfers_unequal: {"transfers_balance"},
    four_entries_of_one_transfer: {"transfers_balance", "outcomes_equal_entries"},
    two_currencies_in_one_transfer: {"transfers_balance"},
    balance_alone: {"balances_equal_entries"},
    held_without_a_hold: {"held_equals_holds"},
    number_alone: {"balances_equal_entries"},
    gap_that_the_account_counts: {"balances_equal_entries", "chains_unbroken"},
    gap_that_the_account_does_not_count: {"balances_equal_entries", "chains_unbroken"},
    balance_after_one_entry: {"chains_unbroken"},
    entry_dated_back: {"chains_unbroken"},
    entries_in_a_foreign_currency: {"chains_unbroken"},
    overdrawn_for_a_while: {"chains_unbroken"},
    outcome_missing: {"outcomes_equal_entries"},
    entries_missing: {"outcomes_equal_entries"},
    outcome_points_elsewhere: {"outcomes_equal_entries"},
    admission_without_audit_entry: {"admissions_audited"},
    admission_removed: {"admissions_audited"},
    reason_of_an_admission_changed: {"admissions_audited"},
    operator_of_an_admission_changed: {"admissions_audited"},
    block_rewritten: {"blocks_unbroken"},
    recorded_head_gone: {"recorded_blocks_present"},
    sealed_row_changed: {"sealed_rows_unchanged"},
    row_of_a_closed_time: {"nothing_came_late"},
    account_never_sealed: {"sealing_keeps_up"},
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_a_fault_fails_its_check(ledger: Ledger, fault: Fault) -> None:
    """Guarantee 16: each check of the proof finds and names its fault, and no other check fails."""
    before = faults(await ledger.verify())

    named = await fault(ledger)

    found = faults(await ledger.verify())
    assert {} == before
    assert FAULTS[fault] == found.keys()
    assert any(named in detail for detail in found.values()), found


def test_every_check_has_a_fault() -> None:
    """All twelve checks are among those that must fail."""
    assert 12 == len(set().union(*FAULTS.values())) == CHECKS_TOTAL


async def test_both_the_recorded_and_the_given_block_must_exist(ledger: Ledger) -> None:
    """A run with a genuine required head still reports the missing head of the last run."""
    row = await ledger.superuser.fetchrow("SELECT number, hash FROM blocks ORDER BY number DESC LIMIT 1")
    assert row is not None
    newest = Head(*row)
    await recorded_head_gone(ledger)

    assert ["recorded_blocks_present"] == list(faults(await ledger.verify(newest)))


async def test_a_run_continues_from_the_last_verified_block(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is not whole compares new blocks and the newest verified ones; after a failed run it compares all again."""
    monkeypatch.setattr(chain, "REPEATED_ROWS", 1)
    await ledger.tamper("UPDATE outcomes SET description = 'rent' WHERE transfer_id = $1", ledger.posted[0])

    partial = await verify(ledger.proof_pool, whole=False)
    whole = await verify(ledger.proof_pool)
    await commands.record_proof(ledger.seal_pool, whole)
    after_failure = await verify(ledger.proof_pool, whole=False)

    assert {} == faults(partial)
    assert f"from block {BLOCKS - 1}" in {check.detail for check in partial.checks}
    assert BLOCKS == (partial.head.number if partial.head else 0)
    assert ["sealed_rows_unchanged"] == list(faults(whole)) == list(faults(after_failure))


async def test_a_failure_is_replaced_by_a_run_that_began_after_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partial run that overlaps a failed one and passes is not stored: the next run compares all blocks again."""
    monkeypatch.setattr(chain, "REPEATED_ROWS", 1)
    await ledger.tamper("UPDATE outcomes SET description = 'rent' WHERE transfer_id = $1", ledger.posted[0])
    failed = await verify(ledger.proof_pool)
    passed = await verify(ledger.proof_pool, whole=False)
    assert (False, True) == (failed.ok, passed.ok)

    for run in (failed, passed):
        await commands.record_proof(ledger.seal_pool, run)
    stored = await commands.find_last_proof(ledger.seal_pool)
    following = await verify(ledger.proof_pool, whole=False)
    await ledger.tamper("UPDATE outcomes SET description = NULL WHERE transfer_id = $1", ledger.posted[0])
    repaired = await verify(ledger.proof_pool, whole=False)
    await commands.record_proof(ledger.seal_pool, repaired)
    last = await commands.find_last_proof(ledger.seal_pool)

    assert (False, False) == (stored is not None and stored.ok, following.ok)
    assert (True, True) == (repaired.ok, last is not None and last.ok)


@pytest.mark.parametrize("ahead", [timedelta(seconds=1), timedelta(days=36500)])
async def test_a_failure_is_stored_whatever_the_clocks_show(ledger: Ledger, ahead: timedelta) -> None:
    """A run that passed with a later time keeps no failure back: it may have compared less, or its process has a fast clock."""
    passed = await verify(ledger.proof_pool)
    await commands.record_proof(ledger.seal_pool, passed._replace(at=passed.at + ahead))
    await ledger.tamper("UPDATE outcomes SET description = 'rent' WHERE transfer_id = $1", ledger.posted[0])

    failed = await verify(ledger.proof_pool)
    await commands.record_proof(ledger.seal_pool, failed)
    stored = await commands.find_last_proof(ledger.seal_pool)
    await ledger.tamper("UPDATE outcomes SET description = NULL WHERE transfer_id = $1", ledger.posted[0])
    await commands.record_proof(ledger.seal_pool, await verify(ledger.proof_pool))
    last = await commands.find_last_proof(ledger.seal_pool)

    assert (False, failed.at) == (stored is not None and stored.ok, stored and stored.at)
    assert last is not None
    assert last.ok


@pytest.mark.parametrize("number", [BLOCKS - 1, BLOCKS])
async def test_a_partial_run_compares_the_newest_blocks(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The last verified block and a new one: a changed row of either is found, and so is another hash of the verified one."""
    monkeypatch.setattr(chain, "REPEATED_ROWS", 1)
    row = await ledger.superuser.fetchrow("SELECT outcomes[1] AS id FROM blocks WHERE number = $1", number)
    assert row is not None
    await ledger.tamper("UPDATE outcomes SET request_hash = sha256('z') WHERE transfer_id = $1", row["id"])

    partial = await verify(ledger.proof_pool, whole=False)

    assert f"transfer {row['id']} of block {number}" in faults(partial)["sealed_rows_unchanged"]


async def test_a_small_ledger_is_compared_whole(ledger: Ledger) -> None:
    """With fewer rows than every run repeats, a run that is not whole compares all blocks."""
    await ledger.tamper("UPDATE outcomes SET description = 'rent' WHERE transfer_id = $1", ledger.posted[0])

    assert ["sealed_rows_unchanged"] == list(faults(await verify(ledger.proof_pool, whole=False)))


async def test_the_last_rows_of_a_long_chain_are_compared(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more blocks than are read at a time, a change in the last one is found, and the head is the last one."""
    monkeypatch.setattr(chain, "ROWS", 1)
    genuine = await ledger.verify()
    await ledger.tamper("UPDATE outcomes SET description = 'rent' WHERE transfer_id = $1", ledger.posted[-1])

    found = faults(await ledger.verify())

    assert genuine.head is not None
    assert BLOCKS == genuine.head.number
    assert f"transfer {ledger.posted[-1]} of block {BLOCKS}" in found["sealed_rows_unchanged"]
