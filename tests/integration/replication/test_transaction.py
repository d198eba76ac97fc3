"""Guarantee 33b: the transaction service: results that depend on rows found are returned only when these are replicated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from services.chassis import database, dead_letters
from services.chassis.broker import OutgoingMessage, Publisher, PublishFailed
from services.chassis.client import Upstream
from services.chassis.database import Pool
from services.chassis.dead_letters import Actor, DeadLetterResolved
from services.chassis.outbox import Relay
from services.chassis.roles import Runtime
from services.contracts.identifiers import new_id
from services.contracts.refusal import Refusal
from services.contracts.refusals.transaction import TransferNotCancellable
from services.contracts.topology import REQUESTED_QUEUE
from services.contracts.transfer_kinds import DEPOSIT
from services.transaction import api, commands
from services.transaction.commands import Accepted
from services.transaction.intake import Intake, Request, Result
from services.transaction.store import WalletFacts, WalletResult
from services.transaction.transfer import CANCELLED, Transfer
from services.transaction.waiting import Waiting
from services.transaction.wallet_client import WalletClient
from tests.harness.services import Recipients, identities, request
from tests.harness.standby import Pair

NOWHERE = "http://127.0.0.1:9"
BY = Actor(new_id(), "the-request-1")


@pytest.fixture
def service() -> str:
    return "transaction"


@pytest.fixture
async def intake(pool: Pool) -> AsyncIterator[Intake]:
    """Knows the wallets of its directory, and finds the wallet service unavailable, so that nothing is checked."""
    upstream = Upstream("transaction", "wallet", NOWHERE, identities()["transaction"])
    yield Intake(pool, wallet=WalletClient(upstream), auth=Recipients(), reversal_after=timedelta(minutes=1))
    await upstream.close()


@pytest.fixture
async def payment(pool: Pool) -> Request:
    """A request between two wallets that the directory knows."""
    owner_id = new_id()
    source, destination = WalletFacts(new_id(), owner_id, "USD"), WalletFacts(new_id(), new_id(), "USD")
    await commands.record_wallets(pool, [source, destination])
    return request(owner_id, destination.id, 10)


async def accept(intake: Intake, *requests: Request) -> list[Result]:
    return await intake.accept(requests)


async def recorded(pool: Pool, payment: Request) -> UUID:
    """The transfer of this request, wherever it is durable."""
    select = "SELECT resource_id FROM idempotency_keys WHERE user_id = $1 AND key = $2"
    return await pool.fetchval(select, *payment.key)


async def accepted(intake: Intake, payment: Request) -> Transfer:
    [result] = await accept(intake, payment)
    assert isinstance(result, Accepted)
    return result.transfer


def outcomes(transfer: Transfer, outcome: str = "voided", reason: str | None = CANCELLED) -> list[WalletResult]:
    return [WalletResult(transfer.id, outcome, reason, datetime.now(UTC), None)]


async def test_used_key(pair: Pair, pool: Pool, intake: Intake, payment: Request) -> None:
    """The first request times out; the same key again is a replay of the same transfer once that is replicated."""
    await pair.leave_unknown(lambda: accept(intake, payment))
    [again] = await pair.after_replication(lambda: accept(intake, payment))
    assert isinstance(again, Accepted)
    assert (True, await recorded(pool, payment)) == (again.replayed, again.transfer.id)


async def test_used_key_of_a_deposit(pair: Pair, pool: Pool, intake: Intake, payment: Request) -> None:
    """The same holds for deposits."""
    await pool.execute("INSERT INTO wallets VALUES ($1, NULL, 'USD') ON CONFLICT DO NOTHING", new_id())
    deposit = payment._replace(kind=DEPOSIT.name)
    await pair.leave_unknown(lambda: accept(intake, deposit))
    [again] = await pair.after_replication(lambda: accept(intake, deposit))
    assert isinstance(again, Accepted)
    assert (True, await recorded(pool, deposit)) == (again.replayed, again.transfer.id)


async def test_key_used_for_another_request(pair: Pair, intake: Intake, payment: Request) -> None:
    """The refusal of a reused key is returned once the first request is replicated."""
    await pair.leave_unknown(lambda: accept(intake, payment))
    [again] = await pair.after_replication(lambda: accept(intake, payment._replace(key_hash=b"another")))
    assert isinstance(again, Refusal)
    assert "idempotency_key_reused" == again.code


async def test_key_lost_to_a_duplicate(pair: Pair, pool: Pool, intake: Intake, payment: Request) -> None:
    """A draft whose key was taken after the first look gets the response of that request once it is replicated."""
    unused = await commands.find_keys(pool, [payment.key])
    await pair.leave_unknown(lambda: accept(intake, payment))
    [again] = await pair.after_replication(lambda: intake._accept_new([payment], unused))
    assert isinstance(again, Accepted)
    assert (True, await recorded(pool, payment)) == (again.replayed, again.transfer.id)


async def test_batch_with_an_unknown_commit(pair: Pair, pool: Pool, intake: Intake, payment: Request) -> None:
    """One commit accepts a batch; if it is unknown, it is so for every item, and each key finds the result later."""
    batch = [payment._replace(idempotency_key=str(new_id())) for _ in range(3)]
    await pair.leave_unknown(lambda: accept(intake, *batch))
    pair.resume()
    results = await accept(intake, *batch)
    assert [(True, await recorded(pool, one)) for one in batch] == [
        (result.replayed, result.transfer.id) for result in results if isinstance(result, Accepted)
    ]


async def test_lookup_by_key(pair: Pair, pool: Pool, intake: Intake, payment: Request) -> None:
    """`?idempotency_key=` finds a transfer once it is replicated: the client takes it for accepted."""
    await pair.leave_unknown(lambda: accept(intake, payment))
    found = await pair.after_replication(lambda: commands.find_by_key(pool, *payment.key))
    assert found is not None
    assert await recorded(pool, payment) == found.id


class Broker(Publisher):
    """A broker that confirms everything."""

    def __init__(self) -> None:
        self.messages: list[OutgoingMessage] = []

    async def publish(self, messages: Sequence[OutgoingMessage]) -> list[PublishFailed | None]:
        self.messages += messages
        return [None] * len(messages)


async def test_published_command(pair: Pair, pool: Pool, intake: Intake, payment: Request) -> None:
    """A command whose commit is unknown is published once it is replicated."""
    broker = Broker()
    relay = Relay(pool, broker, Runtime(service="transaction", role="relay", instance="test"))
    await pool.execute("UPDATE leases SET expires_at = clock_timestamp()")
    await relay._take_lease()
    await pair.leave_unknown(lambda: accept(intake, payment))

    publishing = asyncio.ensure_future(relay._pass())
    await pair.until_waiting(publishing)
    before = len(broker.messages)
    pair.resume()
    published, _ = await publishing

    assert (0, True) == (before, published > 0)
    assert str(await recorded(pool, payment)).encode() in broker.messages[0].body


async def test_outcome_applied_before(pair: Pair, pool: Pool, intake: Intake, payment: Request) -> None:
    """A command whose outcome is recorded already is acknowledged once that is replicated."""
    outcome = outcomes(await accepted(intake, payment))
    await pair.leave_unknown(lambda: commands.finalize_transfers(pool, outcome))
    assert 0 == await pair.after_replication(lambda: commands.finalize_transfers(pool, outcome))


async def test_conflict_marked_before(pair: Pair, pool: Pool, intake: Intake, payment: Request) -> None:
    """A conflicting command becomes a dead letter once its mark is replicated."""
    transfer = await accepted(intake, payment)
    await pair.leave_unknown(lambda: commands.mark_conflicted(pool, [transfer.id]))
    await pair.after_replication(lambda: commands.mark_conflicted(pool, [transfer.id]))


async def test_cancelled_before(pair: Pair, pool: Pool, intake: Intake, payment: Request) -> None:
    """Cancelling a transfer that is cancelled already succeeds once that is replicated."""
    transfer = await accepted(intake, payment)
    await pair.leave_unknown(lambda: commands.finalize_transfers(pool, outcomes(transfer)))
    result = await pair.after_replication(lambda: api.cancel_transfer(request_to(pool, "POST", transfer)))
    assert 200 == result.status


async def test_too_late_to_cancel(pair: Pair, pool: Pool, intake: Intake, payment: Request) -> None:
    """The refusal to cancel a completed transfer is returned once its outcome is replicated."""
    transfer = await accepted(intake, payment)
    await pair.leave_unknown(lambda: commands.finalize_transfers(pool, outcomes(transfer, "posted", None)))
    with pytest.raises(TransferNotCancellable):
        await pair.after_replication(lambda: api.cancel_transfer(request_to(pool, "POST", transfer)))


async def test_waiting_for_the_outcome(pair: Pair, pool: Pool, intake: Intake, payment: Request) -> None:
    """A request that waits for the outcome gets it once it is replicated, whether or not it was there from the beginning."""
    transfer = await accepted(intake, payment)
    await pair.leave_unknown(lambda: commands.finalize_transfers(pool, outcomes(transfer)))
    assert [transfer.id] == await pair.after_replication(lambda: commands.list_terminal(pool, [transfer.id]))
    await pair.lose_standby()
    result = await pair.after_replication(lambda: api.get_transfer(request_to(pool, "GET", transfer, "&wait=5")))
    assert '"status": "FAILED"' in str(result.text)


async def test_plain_read(pair: Pair, pool: Pool, intake: Intake, payment: Request) -> None:
    """A plain read does not wait: it returns the rows of this server, also while no commit succeeds."""
    await pair.leave_unknown(lambda: accept(intake, payment))
    result = await api.get_transfer(request_to(pool, "GET", (await found(pool, payment))))
    assert '"status": "PENDING"' in str(result.text)


async def test_dead_letter_archived_before(pair: Pair, pool: Pool) -> None:
    """A dead letter that is already archived is acknowledged once it is replicated."""
    dead_letter = dead_letters.read(REQUESTED_QUEUE, str(new_id()).encode(), {}, str(new_id()))
    await pair.leave_unknown(lambda: dead_letters.archive(pool, [dead_letter]))
    await pair.after_replication(lambda: dead_letters.archive(pool, [dead_letter]))


async def test_dead_letter_discarded_before(pair: Pair, pool: Pool) -> None:
    """Discarding a dead letter again succeeds once the first time is replicated."""
    dead_letter_id = await archived(pool)
    await pair.leave_unknown(lambda: dead_letters.discard(pool, dead_letter_id, "a test", BY))
    again = await pair.after_replication(lambda: dead_letters.discard(pool, dead_letter_id, "a test", BY))
    assert dead_letters.DISCARDED == again["state"]


async def test_dead_letter_replayed_before(pair: Pair, pool: Pool) -> None:
    """The refusal to discard a replayed dead letter is returned once the replay is replicated."""
    dead_letter_id = await archived(pool)

    async def mark_replayed() -> None:
        async with database.transaction(pool) as connection:
            await connection.fetchrow(dead_letters.statements.mark_replayed, dead_letter_id, 1)

    await pair.leave_unknown(mark_replayed)
    with pytest.raises(DeadLetterResolved):
        await pair.after_replication(lambda: dead_letters.discard(pool, dead_letter_id, "a test", BY))


async def archived(pool: Pool) -> UUID:
    body = str(new_id()).encode()
    await dead_letters.archive(pool, [dead_letters.read(REQUESTED_QUEUE, body, {}, str(new_id()))])
    return await pool.fetchval("SELECT id FROM dead_letters WHERE body = $1", body)


async def found(pool: Pool, payment: Request) -> Transfer:
    transfer_id = await recorded(pool, payment)
    return (await commands.find_transfers(pool, [transfer_id]))[transfer_id]


def request_to(pool: Pool, method: str, transfer: Transfer, more: str = "") -> web.Request:
    """A request of the sender of the transfer to one of its routes, as the gateway sends it."""
    app = web.Application()
    app[api.POOL] = app[api.READ_POOL] = pool
    app[api.WAITING] = Waiting(pool)
    payload = StreamReader(BaseProtocol(None), 2**16)  # type: ignore[arg-type]
    payload.feed_data(f'{{"viewer": "{transfer.user_id}"}}'.encode())
    payload.feed_eof()
    path = f"/internal/transfers/{transfer.id}?viewer={transfer.user_id}{more}"
    match: dict[str, Any] = {"id": str(transfer.id)}
    return make_mocked_request(method, path, app=app, match_info=match, payload=payload)
