"""Guards of accepting and finalizing that only a certain order of events shows; each test forces that order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from services.chassis.consumer import DeadLetter, Delivery, Retry
from services.chassis.database import CommitUnknown, DatabaseUnavailable, Pool, close_pool
from services.contracts.identifiers import new_id
from services.contracts.messages import TransferCommand, decode_command
from services.contracts.refusal import Refusal
from services.contracts.refusals.transaction import Busy
from services.transaction import commands, store
from services.transaction.app import PLANNER
from services.transaction.commands import Accepted
from services.transaction.intake import Result
from services.transaction.store import Draft, Keys, WalletResult
from services.transaction.transfer import Transfer
from services.transaction.worker import Worker
from services.wallet import commands as wallet_commands
from services.wallet import store as wallet_store
from services.wallet.commands import Void
from tests.harness import ledgers
from tests.harness.databases import TestDatabase
from tests.harness.locks import PATIENT, until_waiting
from tests.harness.services import MoneyPath, Recipients, accept, request


@pytest.fixture
async def patient(path: MoneyPath, transaction_database: TestDatabase) -> AsyncIterator[Pool]:
    """As the service connects, but a wait for a lock ends only when the lock is free, or in a deadlock."""
    opened = await transaction_database.pool(**PLANNER, **PATIENT)
    yield opened
    await close_pool(opened)


@pytest.fixture
async def owner(transaction_database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    """The owner of the tables, who can revoke a grant of the service."""
    connection = await asyncpg.connect(transaction_database.owner_url)
    yield connection
    await connection.close()


class Meanwhile(Recipients):
    """Auth, with an action that runs during the look-up."""

    def __init__(self, known: dict[str, UUID], action: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self.known = known
        self._act = action

    async def find_recipients(self, emails: Sequence[str]) -> dict[str, UUID]:
        await self._act()
        return await super().find_recipients(emails)


async def accepted(path: MoneyPath, count: int = 1, *, amount: int = 1) -> list[Transfer]:
    """PENDING transfers, in id order."""
    [(alice, _), (_, bob_wallet)] = await path.users([1000, 0])
    results = await accept(path.intake(), *(request(alice, bob_wallet, amount) for _ in range(count)))
    transfers = [result.transfer for result in results if isinstance(result, Accepted)]
    assert count == len(transfers)
    return sorted(transfers)


def draft(user: UUID, key: str) -> Draft:
    """A transfer between unknown wallets."""
    now = datetime.now(UTC)
    transfer = Transfer(
        id=new_id(), user_id=user, recipient_id=None, kind="transfer", status="PENDING", amount=1, currency="USD",
        from_wallet_id=new_id(), to_wallet_id=new_id(), description=None, metadata=None, request_hash=b"",
        created_at=now, expires_at=now, completed_at=None, failed_at=None, failure_code=None,
    )  # fmt: skip
    return Draft(transfer, key, b"", "request", None)


async def voided(path: MoneyPath, transfers: Sequence[Transfer]) -> list[WalletResult]:
    """Void transfers in the wallet; returns the outcomes to record."""
    voids = [Void(transfer.id, "cancelled", transfer.request_hash) for transfer in transfers]
    results = await wallet_commands.void_transfers(path.wallet_pool, voids)
    return [
        WalletResult(one.transfer_id, one.outcome, one.reason, one.at or datetime.now(UTC), None) for one in results
    ]


async def delivery(path: MoneyPath) -> Delivery[TransferCommand]:
    """The only command in the outbox, as it would arrive."""
    [row] = await path.pool.fetch("SELECT body FROM outbox WHERE topic = 'transfers.requested'")
    return Delivery(decode_command(json.loads(row["body"])), 1, redelivered=False, sent_at=datetime.now(UTC))


async def test_transfer_without_its_command_is_not_recorded(path: MoneyPath, owner: asyncpg.Connection) -> None:
    """While the command cannot be written there is no transfer and no used key; later the same key is accepted."""
    [(alice, _), (_, bob_wallet)] = await path.users([1000, 0])
    one = request(alice, bob_wallet, 5)

    await owner.execute("REVOKE INSERT ON outbox FROM payflow_transaction")
    [refused] = await accept(path.intake(), one)
    kept = await path.pool.fetchval(
        "SELECT (SELECT count(*) FROM transfers) + (SELECT count(*) FROM idempotency_keys)"
    )  # fmt: skip
    await owner.execute("GRANT INSERT ON outbox TO payflow_transaction")
    [again] = await accept(path.intake(), one)

    assert isinstance(refused, Refusal)
    assert 0 == kept
    assert isinstance(again, Accepted)
    assert not again.replayed
    assert again.transfer.id == (await delivery(path)).item.transfer_id


class Losing:
    """Looks up keys a number of times; then the database is unavailable."""

    def __init__(self, look_ups: int) -> None:
        self._left = look_ups
        self._find = commands.find_keys

    async def __call__(self, pool: Pool, pairs: Sequence[tuple[UUID, str]]) -> Keys:
        self._left -= 1
        if self._left < 0:
            raise DatabaseUnavailable
        return await self._find(pool, pairs)


async def test_a_lost_key_is_unknown_without_the_database(path: MoneyPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that another request used meanwhile is unknown, not unrecorded, while its transfer cannot be read."""
    [(alice, _), (_, bob_wallet)] = await path.users([1000, 0])
    one = request(alice, bob_wallet, 5)
    monkeypatch.setattr(commands, "find_keys", Losing(1))

    results = await accept(path.intake(), one, one)

    assert {Accepted, CommitUnknown} == {type(result) for result in results}


async def test_a_half_is_unknown_without_the_database(path: MoneyPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the whole batch recorded before it failed is unknown, not unrecorded, if the database is unavailable for a half."""
    [(alice, _), (_, bob_wallet)] = await path.users([1000, 0])
    intake = path.intake()

    async def fail(*_: object) -> list[Result]:
        raise ValueError

    monkeypatch.setattr(commands, "find_keys", Losing(1))
    monkeypatch.setattr(intake, "_look_up_again", fail)

    results = await accept(intake, request(alice, bob_wallet, 5), request(alice, bob_wallet, 5))

    assert 2 == await path.pool.fetchval("SELECT count(*) FROM transfers")
    assert [CommitUnknown, CommitUnknown] == [type(result) for result in results]


async def test_status_without_its_event_is_not_recorded(path: MoneyPath, owner: asyncpg.Connection) -> None:
    """While the event cannot be written the transfer stays PENDING; then it changes once, with one event."""
    [transfer] = await accepted(path)
    outcomes = await voided(path, [transfer])

    await owner.execute("REVOKE INSERT ON outbox FROM payflow_transaction")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await commands.finalize_transfers(path.pool, outcomes)
    status = await path.pool.fetchval("SELECT status FROM transfers")
    await owner.execute("GRANT INSERT ON outbox TO payflow_transaction")

    assert "PENDING" == status
    assert [1, 0] == [await commands.finalize_transfers(path.pool, outcomes) for _ in range(2)]
    assert 1 == await path.pool.fetchval("SELECT count(*) FROM outbox WHERE topic = 'transfers.finalized'")


async def test_finalizing_again_changes_nothing(path: MoneyPath) -> None:
    """Guarantee 6: with the same outcome three times, also in one list, a transfer changes once, with one event and no error."""
    [transfer] = await accepted(path)
    [outcome] = await voided(path, [transfer])

    moved = [
        await commands.finalize_transfers(path.pool, again) for again in ([outcome], [outcome], [outcome, outcome])
    ]

    assert [1, 0, 0] == moved
    assert 1 == await path.pool.fetchval("SELECT count(*) FROM outbox WHERE topic = 'transfers.finalized'")


async def test_statuses_change_in_one_order(path: MoneyPath, patient: Pool) -> None:
    """Two processes that finalize the same transfers in opposite orders wait for each other without a deadlock."""
    transfers = await accepted(path, 3)
    first, middle, last = await voided(path, transfers)

    async with patient.acquire() as holder:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("SELECT FROM transfers WHERE id = $1 FOR UPDATE", middle.transfer_id)
        backwards = asyncio.create_task(commands.finalize_transfers(patient, [last, middle, first]))
        await until_waiting(patient, 1)
        forwards = asyncio.create_task(commands.finalize_transfers(patient, [first, last]))
        await until_waiting(patient, 2)
        await transaction.rollback()

    assert (3, 0) == (await backwards, await forwards)


async def test_keys_are_inserted_in_one_order(patient: Pool) -> None:
    """Two batches with the same keys in opposite orders wait for each other without a deadlock."""
    user = new_id()

    async def insert(*keys: str) -> int:
        async with patient.acquire() as connection, connection.transaction():
            return len(
                await store.accept_transfers(
                    connection, [draft(user, key) for key in keys], ["{}"] * len(keys), notify=False
                )
            )

    async with patient.acquire() as holder:
        transaction = holder.transaction()
        await transaction.start()
        await store.accept_transfers(holder, [draft(user, "m")], ["{}"], notify=False)
        backwards = asyncio.create_task(insert("z", "m", "a"))
        await until_waiting(patient, 1)
        forwards = asyncio.create_task(insert("a", "z"))
        await until_waiting(patient, 2)
        await transaction.rollback()

    assert (3, 0) == (await backwards, await forwards)


async def test_used_key_is_replayed_while_new_work_is_refused(path: MoneyPath) -> None:
    """Guarantee 17: with too much work ahead a used key still gets its first response; a new one is refused with Retry-After."""
    [(alice, _), (_, bob_wallet)] = await path.users([1000, 0])
    intake = path.intake()
    used = request(alice, bob_wallet, 5)
    [first] = await accept(intake, used)

    again, new = await intake.accept([used, request(alice, bob_wallet, 5)], refuse_new=Busy())

    assert isinstance(first, Accepted)
    assert first._replace(replayed=True) == again
    assert isinstance(new, Busy)


async def test_duplicate_that_spent_the_balance_is_replayed(path: MoneyPath) -> None:
    """Guarantee 17: a concurrent duplicate was accepted between the look-ups of key and balance and spent all of it."""
    [(alice, _), (bob, _)] = await path.users([300, 0])
    duplicate = request(alice, new_id(), 300, key="same", to_wallet_id=None, to_email="bob@example.com")
    path.people.known["bob@example.com"] = bob
    quick = path.intake()
    path.people = Meanwhile(path.people.known, lambda: accept(quick, duplicate))

    [result] = await accept(path.intake(), duplicate)

    assert isinstance(result, Accepted)
    assert result.replayed
    assert [result.transfer.id] == [row["id"] for row in await path.pool.fetch("SELECT id FROM transfers")]


async def test_reversal_ignores_transfers_before_expiry(path: MoneyPath) -> None:
    """A slow transfer is not voided: a pass of the reversal before its expiry changes nothing."""
    [transfer] = await accepted(path)

    moved = await path.sweep()

    assert 0 == moved
    assert 0 == await path.wallet_pool.fetchval("SELECT count(*) FROM outcomes WHERE transfer_id = $1", transfer.id)


async def test_verdict_of_a_conflict_is_a_dead_letter(path: MoneyPath) -> None:
    """Guarantee 10: an id that the wallet knows with another request is left to an operator, and marked."""
    [transfer] = await accepted(path)
    forged = ledgers.posting(transfer.from_wallet_id, transfer.to_wallet_id, 99, transfer_id=transfer.id)
    await ledgers.post(path.wallet_pool, forged)
    worker = Worker(path.pool, path.wallet("transaction-worker"), "test")

    verdicts = await worker.on_transfers_requested([await delivery(path)])

    assert [DeadLetter("conflict")] == verdicts
    assert await path.pool.fetchval("SELECT status = 'PENDING' AND conflicted_at IS NOT NULL FROM transfers")


async def test_verdict_of_a_busy_wallet_is_a_retry(path: MoneyPath) -> None:
    """A transfer whose account was locked too long is not finalized: it is retried."""
    [transfer] = await accepted(path)
    worker = Worker(path.pool, path.wallet("transaction-worker"), "test")

    async with path.wallet_pool.acquire() as holder, holder.transaction():
        await wallet_store.lock_accounts(holder, [transfer.from_wallet_id])
        verdicts = await worker.on_transfers_requested([await delivery(path)])

    assert [Retry("wallet_busy")] == verdicts
    assert "PENDING" == await path.pool.fetchval("SELECT status FROM transfers")
