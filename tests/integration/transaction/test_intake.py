"""Accepting: keys, concurrent duplicates, and the checks of a new request."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from services.contracts.identifiers import new_id
from services.contracts.refusal import Refusal
from services.transaction import commands, reversal, schemas, wallet_client
from services.transaction.app import INTAKE_SETTINGS
from services.transaction.commands import Accepted
from services.transaction.intake import Result
from services.wallet import commands as wallet_commands
from tests.harness import ledgers
from tests.harness.databases import TestDatabase
from tests.harness.services import MoneyPath, accept, request


def code(result: Result) -> str:
    """`accepted`, `replayed`, or the code of a refusal."""
    if isinstance(result, Refusal):
        return result.code
    return "replayed" if result.replayed else "accepted"


async def count(path: MoneyPath) -> int:
    return await path.pool.fetchval("SELECT count(*) FROM transfers")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads of the ledger may take long: for bursts that are not batched, on a busy machine."""
    monkeypatch.setattr(wallet_client, "FIND_SECONDS", 30.0)


async def test_a_hundred_concurrent_duplicates_make_one_transfer(path: MoneyPath, patient: None) -> None:
    """Guarantee 17: the same key and body a hundred times at once, over two intakes: one transfer, one response."""
    [(alice, _), (_, bob_wallet)] = await path.users([300, 0])
    intakes = [path.intake(), path.intake()]
    duplicate = request(alice, bob_wallet, 300, key="same")

    results: list[Result] = []
    async with asyncio.timeout(60):
        # On a busy machine a commit can take longer than its duplicates may wait. A client then sends the request again.
        while len(final := [result for result in results if code(result) != "idempotency_key_in_use"]) < 100:
            repeats = 100 - len(final)
            results = final + [
                a for [a] in await asyncio.gather(*(accept(intakes[n % 2], duplicate) for n in range(repeats)))
            ]

    assert {"accepted": 1, "replayed": 99} == Counter(code(result) for result in results)
    assert 1 == len({result.transfer.as_accepted() for result in results if isinstance(result, Accepted)})
    assert 1 == await count(path)


async def test_duplicates_in_one_batch_make_one_transfer(path: MoneyPath) -> None:
    """The same key twice in one batch is accepted once and replayed once; with another body it is refused."""
    [(alice, _), (_, bob_wallet)] = await path.users([300, 0])
    duplicate = request(alice, bob_wallet, 10, key="same")

    results = await accept(path.intake(), duplicate, duplicate, request(alice, bob_wallet, 11, key="same"))

    assert {"accepted": 1, "replayed": 1, "idempotency_key_reused": 1} == Counter(map(code, results))
    made = [result.transfer.id for result in results if isinstance(result, Accepted) and not result.replayed]
    assert made == [row["id"] for row in await path.pool.fetch("SELECT id FROM transfers")]
    assert [made] == [row["subject_ids"] for row in await path.pool.fetch("SELECT subject_ids FROM outbox")]


@pytest.mark.parametrize("fate", ["spent", "completed", "failed", "cancelled"])
async def test_replay_returns_the_first_response_after_any_outcome(path: MoneyPath, fate: str) -> None:
    """Guarantee 17: the key returns the PENDING body of its accepting commit after any outcome."""
    [(alice, alice_wallet), (_, bob_wallet)] = await path.users([300, 0])
    intake = path.intake()
    duplicate = request(alice, bob_wallet, 300, key="same")
    [first] = await accept(intake, duplicate)
    assert isinstance(first, Accepted)
    if fate == "completed":
        path.start_relay()
        path.start_worker()
        await path.finalized([first.transfer.id])
    if fate in ("failed", "cancelled"):
        voided = [(first.transfer.id, first.transfer.request_hash)]
        reason = "timed_out" if fate == "failed" else "cancelled"
        await reversal.void_transfers(path.pool, path.wallet("transaction-reversal"), voided, reason)

    [again] = await accept(path.intake(), duplicate)

    assert isinstance(again, Accepted)
    assert again.replayed
    assert first.transfer == again.transfer
    assert alice_wallet == again.transfer.from_wallet_id


async def test_key_belongs_to_its_user_and_its_request(path: MoneyPath) -> None:
    """Guarantee 18: reused with another amount: refused; by another user: an independent transfer."""
    [(alice, _), (bob, bob_wallet), (_, carol_wallet)] = await path.users([300, 300, 0])
    intake = path.intake()

    results = [
        code(result)
        for one in (
            request(alice, carol_wallet, 10, key="k"),
            request(alice, carol_wallet, 11, key="k"),
            request(bob, carol_wallet, 10, key="k"),
        )
        for result in await accept(intake, one)
    ]

    assert ["accepted", "idempotency_key_reused", "accepted"] == results
    assert bob_wallet


async def test_equal_payments_with_different_keys_are_both_made(path: MoneyPath) -> None:
    """Guarantee 23: equal bodies with different keys are different transfers."""
    [(alice, _), (_, bob_wallet)] = await path.users([300, 0])

    results = await accept(path.intake(), request(alice, bob_wallet, 10), request(alice, bob_wallet, 10))

    assert ["accepted", "accepted"] == [code(result) for result in results]
    assert 2 == await count(path)


async def test_refusals_record_nothing(path: MoneyPath) -> None:
    """Guarantee 52: each impossible request is refused with its code and field, and nothing is recorded."""
    [(alice, alice_wallet), (bob, bob_wallet)] = await path.users([300, 0])
    [(_, euro_wallet)] = await path.users([300], currency="EUR")
    [(_, frozen_wallet)] = await path.users([0])
    await wallet_commands.set_frozen(
        path.wallet_pool, frozen_wallet, frozen=True, operator_id=new_id(), request_id="test"
    )
    await commands.set_freeze_hint(path.pool, frozen_wallet, frozen=True)
    [external] = await path.wallet_pool.fetch("SELECT id FROM accounts WHERE owner_id IS NULL AND currency = 'USD'")

    results = await accept(
        path.intake(),
        request(alice, alice_wallet, 1),
        request(alice, new_id(), 1),
        request(alice, external["id"], 1),
        request(alice, euro_wallet, 1),
        request(alice, frozen_wallet, 1),
        request(alice, bob_wallet, 301),
        request(alice, bob_wallet, 1, from_wallet_id=euro_wallet),
        request(alice, bob_wallet, 1, currency="EUR"),
        request(alice, bob_wallet, 1, to_wallet_id=None, to_email="unknown@example.com"),
        request(bob, alice_wallet, 1, from_wallet_id=alice_wallet),
    )

    assert [
        ("same_wallet", "to"),
        ("wallet_not_found", "to"),
        ("wallet_not_found", "to"),
        ("currency_mismatch", "currency"),
        ("wallet_frozen", "to"),
        ("insufficient_funds", "amount"),
        ("wallet_not_found", "from_wallet_id"),
        ("wallet_not_found", "currency"),
        ("recipient_not_found", "to.email"),
        ("wallet_not_found", "from_wallet_id"),
    ] == [(code(result), result.errors[0].field) for result in results if isinstance(result, Refusal)]
    assert 0 == await count(path)
    assert 0 == await path.pool.fetchval("SELECT count(*) FROM idempotency_keys")


async def test_recipient_by_email(path: MoneyPath) -> None:
    """A recipient by address receives in the wallet of that currency; the default one is opened on demand."""
    [(alice, _)] = await path.users([300])
    dora: UUID = new_id()
    intake = path.intake()
    path.people.known["dora@example.com"] = dora

    [result] = await accept(intake, request(alice, new_id(), 5, to_wallet_id=None, to_email="dora@example.com"))

    assert isinstance(result, Accepted)
    assert dora == result.transfer.recipient_id


async def test_pending_transfers_count_against_the_balance(path: MoneyPath) -> None:
    """The amount of a pending transfer cannot be spent again; after a failure it can."""
    [(alice, _), (_, bob_wallet)] = await path.users([300, 0])
    [first] = await accept(path.intake(), request(alice, bob_wallet, 200))
    assert isinstance(first, Accepted)

    [refused] = await accept(path.intake(), request(alice, bob_wallet, 101))
    await reversal.void_transfers(
        path.pool,
        path.wallet("transaction-reversal"),
        [(first.transfer.id, first.transfer.request_hash)],
        "cancelled",
    )
    [accepted] = await accept(path.intake(), request(alice, bob_wallet, 101))

    assert ["insufficient_funds", "accepted"] == [code(refused), code(accepted)]


async def test_stored_wallets_are_accepted_without_the_wallet_service(path: MoneyPath) -> None:
    """With the wallet service unavailable: stored wallets are accepted, new ones are refused with Retry-After."""
    [(alice, _), (_, bob_wallet), (_, carol_wallet)] = await path.users([300, 0, 0])
    await accept(path.intake(), request(alice, bob_wallet, 1))
    intake = path.intake()
    intake._directory._wallet._upstream._base_url = "http://127.0.0.1:9"

    results = await accept(intake, request(alice, bob_wallet, 1), request(alice, carol_wallet, 1))

    assert ["accepted", "upstream_unavailable"] == [code(result) for result in results]


async def test_wallet_lookup_without_a_response_records_nothing(
    path: MoneyPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wallets that cannot be looked up in time: 503, because nothing was recorded; not an unknown outcome."""
    monkeypatch.setattr(wallet_client, "FIND_SECONDS", 0.2)
    [(alice, _), (_, bob_wallet)] = await path.users([300, 0])
    intake = path.intake()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        intake._directory._wallet._upstream._base_url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        [result] = await accept(intake, request(alice, bob_wallet, 1))

    assert "upstream_unavailable" == code(result)
    assert 0 == await count(path)


async def test_duplicate_of_a_blocked_request_is_in_use(path: MoneyPath) -> None:
    """A key whose first request hangs in its commit is refused as in use within the lock timeout; others are accepted."""
    [(alice, _), (_, bob_wallet)] = await path.users([300, 0])
    intake = path.intake()
    await accept(intake, request(alice, bob_wallet, 1))

    async with path.pool.acquire() as holder, holder.transaction():
        await holder.execute(
            "INSERT INTO idempotency_keys (user_id, key, request_hash, hash_version, resource_id) VALUES ($1, 'held', '', 1, $2)",
            alice,
            new_id(),
        )
        # The key is locked until the end of the block: only the lock timeout can end the wait.
        results = await accept(
            intake, request(alice, bob_wallet, 1, key="held"), *(request(alice, bob_wallet, 1) for _ in range(60))
        )

    assert ["idempotency_key_in_use"] + ["accepted"] * 60 == [code(result) for result in results]
    assert "500ms" == INTAKE_SETTINGS["lock_timeout"], "in the batch and once more alone: a second in all"


async def test_terminal_transfer_cannot_be_changed(path: MoneyPath) -> None:
    """The database itself keeps a terminal status, and every transfer and key."""
    path.reversal_after = timedelta(milliseconds=1)
    [(alice, _), (_, bob_wallet)] = await path.users([300, 0])
    await accept(path.intake(), request(alice, bob_wallet, 1))
    await path.sweep()

    for statement in (
        "UPDATE transfers SET status = 'PENDING', failed_at = NULL, failure_code = NULL",
        "DELETE FROM transfers",
        "DELETE FROM idempotency_keys",
    ):
        with pytest.raises(Exception, match=r"terminal|never removed|permission denied"):
            await path.pool.execute(statement)
    assert 0 == await ledgers.balance(path.wallet_pool, bob_wallet)


async def test_request_that_cannot_be_stored_fails_alone(path: MoneyPath) -> None:
    """One request of 16 that the database refuses gets a fault of its own; the others are accepted."""
    [(alice, _), (_, bob_wallet)] = await path.users([300, 0])
    requests = [request(alice, bob_wallet, 1) for _ in range(16)]
    requests[9] = request(alice, bob_wallet, 1, description="NUL \x00")

    results = await accept(path.intake(), *requests)

    assert ["accepted"] * 9 + ["internal_error"] + ["accepted"] * 6 == [code(result) for result in results]
    assert 15 == await count(path)


def test_malformed_item_is_refused_alone() -> None:
    """Of a batch with one malformed item the others are read."""
    good = {
        "user_id": str(new_id()),
        "idempotency_key": "k",
        "request_hash": "ab" * 32,
        "kind": "transfer",
        "amount": 1,
        "currency": "USD",
        "to": {"wallet_id": str(new_id())},
        "request_id": "r",
    }

    read = schemas.read_requests(json.dumps({"items": [good, good | {"amount": "1"}, good]}).encode())

    assert [False, True, False] == [isinstance(one, Refusal) for one in read]
    refused = read[1]
    assert isinstance(refused, Refusal)
    assert ["amount"] == [error.field for error in refused.errors]


@asynccontextmanager
async def a_stuck_wakeup(database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A commit notifies the wake-up and does not end: it waits for a replica that does not exist."""
    superuser, notifier = [await asyncpg.connect(database.superuser_url) for _ in range(2)]
    await superuser.execute("SET synchronous_commit = local")
    await superuser.execute("ALTER SYSTEM SET synchronous_standby_names = 'absent'")
    await superuser.execute("SELECT pg_reload_conf()")
    notifying = asyncio.create_task(_notify_until_stuck(notifier))
    try:
        async with asyncio.timeout(30):
            while not await superuser.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"):
                await asyncio.sleep(0.01)
        yield superuser
    finally:
        notifying.cancel()
        await superuser.execute("ALTER SYSTEM RESET synchronous_standby_names")
        await superuser.execute("SELECT pg_reload_conf()")
        await asyncio.wait([notifying])
        await superuser.close()
        await notifier.close()


async def _notify_until_stuck(connection: asyncpg.Connection) -> None:
    """Each process of the server reads the new setting at its own time: the first commits may not wait for the replica."""
    while True:
        await connection.execute("BEGIN; SELECT pg_logical_emit_message(true, 'test', ''); NOTIFY outbox; COMMIT")


async def test_wait_for_the_wakeup_is_not_a_duplicate(path: MoneyPath, transaction_database: TestDatabase) -> None:
    """A commit that waits behind the wake-up of another, longer than duplicates wait for each other, is accepted as new."""
    [(alice, _), (_, bob_wallet)] = await path.users([300, 0])
    # The wallets are known before: to look one up also waits for the replica.
    await accept(path.intake(), request(alice, bob_wallet, 1))
    path.pool = await transaction_database.pool(**INTAKE_SETTINGS, synchronous_commit="local")
    path.stack.push_async_callback(path.pool.close)
    intake = path.intake()

    async with a_stuck_wakeup(transaction_database) as superuser, asyncio.timeout(30):
        accepting = asyncio.create_task(accept(intake, request(alice, bob_wallet, 1)))
        while not accepting.done() and not await superuser.fetchval(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND clock_timestamp() - waitstart > interval '700 ms'"
        ):
            await asyncio.sleep(0.02)
    [result] = await accepting

    assert "accepted" == code(result)


async def test_a_replay_has_the_expectation_of_the_accepting_commit(path: MoneyPath) -> None:
    """Whatever is expected later: the stored time is returned to every copy of the request."""
    [(alice, _), (_, bob_wallet)] = await path.users([300, 0])
    seconds = iter([3.0, None])
    intake = path.intake(expect_seconds=lambda: next(seconds))
    paid = request(alice, bob_wallet, 100, key="expected")

    [first] = await accept(intake, paid)
    [again] = await accept(path.intake(), paid)
    [unknown] = await accept(intake, request(alice, bob_wallet, 100, key="unknown"))

    assert isinstance(first, Accepted)
    assert isinstance(again, Accepted)
    assert isinstance(unknown, Accepted)
    assert first.transfer.created_at + timedelta(seconds=3) == first.transfer.expected_by == again.transfer.expected_by
    assert unknown.transfer.expected_by is None
    assert ("normal", "delayed") == tuple(schemas.transfer(one.transfer)["processing"] for one in (again, unknown))
