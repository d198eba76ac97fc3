"""Dead letters: out of the broker onto the record, and what an operator may do with them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from services.chassis import dead_letters
from services.chassis.broker import ATTEMPTS, REASON, OutgoingMessage, Publisher
from services.chassis.database import close_pool
from services.chassis.dead_letter_api import DeadLetterApi
from services.chassis.dead_letters import Actor, BrokerUnavailable, DeadLetterNotReplayable, DeadLetterResolved
from services.contracts.identifiers import new_id
from services.contracts.messages import encode_envelope
from services.contracts.topology import REQUESTED_QUEUE, TRANSFERS_REQUESTED
from services.transaction import commands, replay, steps
from services.transaction.commands import Accepted
from services.transaction.transfer import Transfer
from tests.harness import ledgers
from tests.harness.databases import TestDatabase
from tests.harness.dead_letters import archived, archiving
from tests.harness.services import MoneyPath, accept, request

NOBODY = "amqp://nobody:nobody-is-there@127.0.0.1:9"
BY = Actor(new_id(), "the-request-1")


@pytest.fixture
async def publisher(path: MoneyPath) -> AsyncIterator[Publisher]:
    opened = Publisher(path.rabbitmq_url, "test")
    yield opened
    await opened.close()


async def accepted(path: MoneyPath, amount: int = 5) -> tuple[Transfer, str]:
    """A PENDING transfer and its command."""
    [(alice, _), (_, bob_wallet)] = await path.users([1000, 0])
    [answer] = await accept(path.intake(), request(alice, bob_wallet, amount))
    assert isinstance(answer, Accepted)
    return answer.transfer, await path.pool.fetchval("SELECT body FROM outbox WHERE id = $1", answer.transfer.id)


def envelope(*commands_: str) -> bytes:
    return encode_envelope(TRANSFERS_REQUESTED, commands_, sent_at=datetime.now(UTC))


async def put(
    publisher: Publisher, *bodies: bytes, reason: str = "attempts_max: test", message_id: str | None = None
) -> None:
    """Put messages among the dead letters, each with an id of its own unless one is given."""
    queue = REQUESTED_QUEUE.dead_letter
    letters = [
        OutgoingMessage("", queue, body, {REASON: reason}, message_id=message_id or str(new_id())) for body in bodies
    ]
    assert not any(await publisher.publish(letters))


async def depth(publisher: Publisher) -> int:
    return (await publisher.depths([REQUESTED_QUEUE.dead_letter]))[REQUESTED_QUEUE.dead_letter]


async def test_whatever_it_is_it_is_on_record(path: MoneyPath, publisher: Publisher) -> None:
    """Guarantee 37: bytes, an unknown version, odd ids and a NUL: each is kept as it came, with what is in it."""
    transfer, command = await accepted(path)
    odd = json.dumps(json.loads(command) | {"request_id": "a\x00b\r\n", "transfer_id": "\ud800"})
    bodies = [b"\xff\x00 no json", envelope(command).replace(b'"version":1', b'"version":9'), envelope(odd)]
    await put(publisher, *bodies, reason="malformed: \x00")
    async with archiving(path.pool, path.rabbitmq_url, REQUESTED_QUEUE):
        rows = await archived(path.pool, 3)
        async with asyncio.timeout(30):
            while await depth(publisher):
                await asyncio.sleep(0.02)

    by_body = {bytes(row["body"]): row for row in rows}
    assert set(bodies) == set(by_body)
    assert [[], [transfer.id], []] == [by_body[body]["subject_ids"] for body in bodies]
    assert json.loads(command)["request_id"] == by_body[bodies[1]]["request_ids"][0]
    assert {"malformed: \ufffd"} == {row["reason"] for row in rows}


async def test_odd_headers_keep_no_letter_out(path: MoneyPath) -> None:
    """Whatever the headers say, the letter is kept: one that could not be would hold up all behind it."""
    for number, attempts in enumerate(odd := (2**40, -1, "many", True)):
        body = f"poison {number}".encode()
        await dead_letters.archive(path.pool, [dead_letters.read(REQUESTED_QUEUE, body, {ATTEMPTS: attempts}, "\x00")])

    assert [2**31 - 1, 0, 0, 1] == [row["attempts"] for row in await archived(path.pool, len(odd))]


def test_no_depth_kills_the_keeper() -> None:
    """A message nested just as deep as can be read, or deeper, is a letter like any other."""
    for depth in range(900, 1010):
        body = b'{"type":"t","version":1,"commands":[' + b"[" * depth + b"]" * depth + b"]}"
        assert body == dead_letters.read(REQUESTED_QUEUE, body, {}, None).body


async def test_one_row_for_what_is_told_twice(path: MoneyPath) -> None:
    """Copies count on one row while it waits; a message that is handed over again changes nothing, even once dealt with."""
    _, command = await accepted(path)
    first, second = (dead_letters.read(REQUESTED_QUEUE, envelope(command), {}, str(new_id())) for _ in range(2))

    for letters in ([first], [first], [second, first], [second]):
        await dead_letters.archive(path.pool, letters)
    [row] = await archived(path.pool)
    seen = row["seen"]
    await dead_letters.discard(path.pool, row["id"], "seen", BY)
    await dead_letters.archive(path.pool, [second])

    assert seen >= 2
    assert ["discarded"] == [row["state"] for row in await path.pool.fetch("SELECT state FROM dead_letters")]


async def test_a_crash_before_the_acknowledgement_leaves_one_row(
    path: MoneyPath, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archiver that dies between its commit and its acknowledgement gets the message again: one row, seen once."""
    real, died = dead_letters.archive, asyncio.Event()

    async def archive_and_die(*arguments: object) -> None:
        await real(*arguments)  # type: ignore[arg-type]
        if not died.is_set():
            died.set()
            raise ConnectionError("died here")

    monkeypatch.setattr(dead_letters, "archive", archive_and_die)
    await put(publisher, b"poison")
    async with archiving(path.pool, path.rabbitmq_url, REQUESTED_QUEUE), asyncio.timeout(20):
        await died.wait()
        while await depth(publisher):
            await asyncio.sleep(0.02)
        [row] = await archived(path.pool)

    assert 1 == row["seen"]


async def test_what_cannot_be_kept_stays_at_the_broker(
    path: MoneyPath, publisher: Publisher, transaction_database: TestDatabase
) -> None:
    """While the database accepts no row nothing is acknowledged: the message stays in the queue and is archived later."""
    owner = await asyncpg.connect(transaction_database.owner_url)
    await owner.execute("REVOKE INSERT ON dead_letters FROM payflow_transaction")
    await put(publisher, b"poison")
    async with archiving(path.pool, path.rabbitmq_url, REQUESTED_QUEUE) as archiver, asyncio.timeout(20):
        while await depth(publisher) or not archiver._consuming:
            await asyncio.sleep(0.02)
    async with asyncio.timeout(20):
        while await depth(publisher) != 1:
            await asyncio.sleep(0.02)
    await owner.execute("GRANT INSERT ON dead_letters TO payflow_transaction")
    async with archiving(path.pool, path.rabbitmq_url, REQUESTED_QUEUE):
        [row] = await archived(path.pool)
    await owner.close()

    assert b"poison" == bytes(row["body"])


async def test_a_replay_carries_it_out_once(path: MoneyPath, publisher: Publisher) -> None:
    """Guarantee 37: replayed five times, also beside a worker and after its outcome: the money moved once; each is on record."""
    transfer, command = await accepted(path)
    await put(publisher, envelope(command))
    async with archiving(path.pool, path.rabbitmq_url, REQUESTED_QUEUE):
        [row] = await archived(path.pool)
    preview = replay.previewer(path.pool)
    before = await preview(row)
    path.start_worker()
    for _ in range(3):
        row = await dead_letters.replay(path.pool, publisher, row, BY)
    await path.finalized([transfer.id])
    after = await preview(row)
    for _ in range(2):
        row = await dead_letters.replay(path.pool, publisher, row, BY)
    await until_taken(publisher)
    actions = await path.pool.fetch("SELECT action, actor_id, subject_id, request_id FROM audit_log")

    assert ("replayed", 5) == (row["state"], row["replays"])
    assert [("PENDING", "post")] == [(effect.status, effect.effect) for effect in before.effects]
    assert [("COMPLETED", "nothing")] == [(effect.status, effect.effect) for effect in after.effects]
    assert 5 == await ledgers.balance(path.wallet_pool, transfer.to_wallet_id)
    assert 1 == await path.pool.fetchval("SELECT count(*) FROM outbox WHERE topic = 'transfers.finalized'")
    assert [("dead_letter_replayed", BY.operator_id, row["id"], BY.request_id)] * 5 == [
        tuple(action) for action in actions
    ]


async def until_taken(publisher: Publisher) -> None:
    """Wait until the queue of commands is empty."""
    async with asyncio.timeout(20):
        while (await publisher.depths([REQUESTED_QUEUE.name]))[REQUESTED_QUEUE.name]:
            await asyncio.sleep(0.02)


async def test_nothing_is_marked_without_the_confirm(path: MoneyPath) -> None:
    """With the broker away a replay is refused with 503; the letter waits, and no action is on record."""
    _, command = await accepted(path)
    await dead_letters.archive(path.pool, [dead_letters.read(REQUESTED_QUEUE, envelope(command), {}, None)])
    [row] = await archived(path.pool)
    nowhere = Publisher(NOBODY, "test")

    with pytest.raises(BrokerUnavailable):
        await dead_letters.replay(path.pool, nowhere, row, BY)

    assert [("waiting", 0)] == [(r["state"], r["replays"]) for r in await path.pool.fetch("SELECT * FROM dead_letters")]
    assert 0 == await path.pool.fetchval("SELECT count(*) FROM audit_log")


async def test_what_fails_again_goes_on_waiting(path: MoneyPath, publisher: Publisher) -> None:
    """A letter that came back before its replay was marked is not marked as done: it waits, seen twice."""
    row_body = b"still no json"
    await dead_letters.archive(path.pool, [dead_letters.read(REQUESTED_QUEUE, row_body, {}, str(new_id()))])
    [row] = await archived(path.pool)
    # Back already, as a fast worker and archiver would have it.
    await dead_letters.archive(path.pool, [dead_letters.read(REQUESTED_QUEUE, row_body, {}, str(new_id()))])
    marked = await dead_letters.replay(path.pool, publisher, row, BY)

    assert ("waiting", 2, 1) == (marked["state"], marked["seen"], marked["replays"])


async def test_a_replayed_poison_comes_back(path: MoneyPath, publisher: Publisher) -> None:
    """Guarantee 37: what nobody can read is replayed without harm and waits again in the end; nothing dies of it."""
    await put(publisher, b"still no json")
    async with archiving(path.pool, path.rabbitmq_url, REQUESTED_QUEUE):
        [row] = await archived(path.pool)
        path.start_worker()
        await dead_letters.replay(path.pool, publisher, row, BY)
        async with asyncio.timeout(20):
            while not await path.pool.fetchval("SELECT count(*) > 1 OR max(seen) > 1 FROM dead_letters"):
                await asyncio.sleep(0.02)
        waiting = await archived(path.pool)

    assert [b"still no json"] == [bytes(one["body"]) for one in waiting]
    assert waiting[0]["reason"].startswith("malformed")


async def test_what_nobody_accepted_is_not_replayed(path: MoneyPath) -> None:
    """A command that is not the one accepted would move money nobody asked for: a dry run says so, a replay is refused."""
    _, command = await accepted(path)
    told = json.loads(command)
    changes = (
        {"transfer_id": str(new_id())},
        {"amount": 6},
        {"destination_id": str(new_id())},
        {"source_id": str(new_id())},
        {"currency": "EUR"},
        {"expires_at": "2999-01-01T00:00:00.000000Z"},
        {"request_hash": "00" * 32},
    )
    forged = [envelope(json.dumps(told | change)) for change in changes]
    letters = [dead_letters.read(REQUESTED_QUEUE, body, {}, None) for body in [envelope(command), *forged]]
    await dead_letters.archive(path.pool, letters)
    by_body = {bytes(row["body"]): row for row in await archived(path.pool, len(letters))}
    preview = replay.previewer(path.pool)
    prospects = [await preview(by_body[body]) for body in forged]
    honest = await preview(by_body[letters[0].body])

    assert [["refused"]] * len(changes) == [[effect.effect for effect in one.effects] for one in prospects]
    assert None not in [one.refusal for one in prospects]
    assert (["post"], None) == ([effect.effect for effect in honest.effects], honest.refusal)


async def test_a_refused_replay_publishes_nothing(path: MoneyPath, publisher: Publisher) -> None:
    """A replay that must not be done is refused at the desk: nothing goes to the queue, nothing is marked."""
    _, command = await accepted(path)
    forged = envelope(command.replace('"amount":5', '"amount":6'))
    await dead_letters.archive(path.pool, [dead_letters.read(REQUESTED_QUEUE, forged, {}, None)])
    [row] = await archived(path.pool)
    desk = DeadLetterApi(
        path.pool,
        REQUESTED_QUEUE,
        read_pool=path.pool,
        broker_url=path.rabbitmq_url,
        instance="t",
        preview=replay.previewer(path.pool),
    )
    body = json.dumps({"operator_id": str(BY.operator_id), "request_id": BY.request_id}).encode()
    with pytest.raises(DeadLetterNotReplayable):
        await desk.replay(asked(row["id"], body))

    assert 0 == (await publisher.depths([REQUESTED_QUEUE.name]))[REQUESTED_QUEUE.name]
    assert 0 == await path.pool.fetchval("SELECT sum(replays) FROM dead_letters")


async def test_a_discard_writes_on_the_main_pool(path: MoneyPath, transaction_database: TestDatabase) -> None:
    """Lists and single dead letters are read on the pool for reads; what an operator does is written on the other."""
    _, command = await accepted(path)
    await dead_letters.archive(path.pool, [dead_letters.read(REQUESTED_QUEUE, envelope(command), {}, None)])
    [row] = await archived(path.pool)
    read_pool = await transaction_database.pool(default_transaction_read_only="on")
    path.stack.push_async_callback(close_pool, read_pool)
    desk = DeadLetterApi(
        path.pool,
        REQUESTED_QUEUE,
        read_pool=read_pool,
        broker_url="",
        instance="t",
        preview=replay.previewer(read_pool),
    )
    body = {"operator_id": str(BY.operator_id), "request_id": BY.request_id, "reason": "a test"}
    response = await desk.discard(asked(row["id"], json.dumps(body).encode()))

    assert 200 == response.status
    assert "discarded" == await path.pool.fetchval("SELECT state FROM dead_letters")


def asked(letter_id: UUID, body: bytes) -> web.Request:
    """A request to the desk, as the server would hand it over."""
    payload = StreamReader(BaseProtocol(asyncio.get_running_loop()), 2**16)
    payload.feed_data(body)
    payload.feed_eof()
    return make_mocked_request("POST", "/", match_info={"id": str(letter_id)}, payload=payload)


async def test_a_dry_run_tells_each_fate(path: MoneyPath) -> None:
    """PENDING past its expiry would be voided, a conflict or what cannot be read comes back; nothing is published."""
    path.reversal_after = timedelta(milliseconds=1)
    late, late_command = await accepted(path)
    path.reversal_after = timedelta(seconds=60)
    odd, odd_command = await accepted(path)
    clash, clash_command = await accepted(path)
    await commands.mark_conflicted(path.pool, [clash.id])
    body = envelope(late_command, odd_command.replace('"amount":5', '"amount":"5"'), clash_command)
    await dead_letters.archive(path.pool, [dead_letters.read(REQUESTED_QUEUE, body, {}, None)])
    [row] = await archived(path.pool)

    prospect = await replay.previewer(path.pool)(row)

    assert {late.id: "void", odd.id: "dead_letter", clash.id: "dead_letter"} == {
        effect.subject_id: effect.effect for effect in prospect.effects
    }
    assert prospect.refusal is None


async def test_discarding_touches_no_transfer(path: MoneyPath, publisher: Publisher) -> None:
    """A discarded letter stays on record with the reason, once in the audit log; the reversal still ends its transfer."""
    path.reversal_after = timedelta(milliseconds=1)
    transfer, command = await accepted(path)
    await dead_letters.archive(path.pool, [dead_letters.read(REQUESTED_QUEUE, envelope(command), {}, None)])
    [row] = await archived(path.pool)
    before = (await commands.find_transfers(path.pool, [transfer.id]))[transfer.id]

    done = [await dead_letters.discard(path.pool, row["id"], "looked at", BY) for _ in range(2)]
    with pytest.raises(DeadLetterResolved):
        await dead_letters.replay(path.pool, publisher, done[0], BY)
    actions = await path.pool.fetch("SELECT action, detail FROM audit_log")
    after = (await commands.find_transfers(path.pool, [transfer.id]))[transfer.id]
    await path.sweep()
    ended = (await commands.find_transfers(path.pool, [transfer.id]))[transfer.id]

    assert [("discarded", "looked at")] * 2 == [(one["state"], one["note"]) for one in done]
    assert before == after
    assert ("FAILED", "timed_out") == (ended.status, ended.failure_code)
    assert [("dead_letter_discarded", "looked at")] == [
        (one["action"], json.loads(one["detail"])["reason"]) for one in actions
    ]


async def test_an_act_that_cannot_be_on_record_is_not_done(path: MoneyPath, transaction_database: TestDatabase) -> None:
    """While the audit log takes no row a letter is not discarded."""
    await dead_letters.archive(path.pool, [dead_letters.read(REQUESTED_QUEUE, b"poison", {}, None)])
    [row] = await archived(path.pool)
    owner = await asyncpg.connect(transaction_database.owner_url)
    await owner.execute("REVOKE INSERT ON audit_log FROM payflow_transaction")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await dead_letters.discard(path.pool, row["id"], "looked at", BY)
    await owner.close()

    assert "waiting" == await path.pool.fetchval("SELECT state FROM dead_letters")


async def test_a_record_is_never_removed(path: MoneyPath, transaction_database: TestDatabase) -> None:
    """DELETE and TRUNCATE of dead letters are refused to everybody, and the service cannot change what was in one."""
    await dead_letters.archive(path.pool, [dead_letters.read(REQUESTED_QUEUE, b"poison", {}, None)])
    removals = ["DELETE FROM dead_letters", "TRUNCATE dead_letters"]
    for role, statements in (
        ("service", [*removals, "UPDATE dead_letters SET body = ''"]),
        ("owner", removals),
        ("superuser", removals),
    ):
        connection = await asyncpg.connect(getattr(transaction_database, f"{role}_url"))
        for statement in statements:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        await connection.close()


async def test_the_trace_names_a_dead_letter(path: MoneyPath, publisher: Publisher) -> None:
    """Guarantee 67: a transfer whose command was set aside says so, waits for the reversal, and after a replay is done."""
    transfer, command = await accepted(path)
    await put(publisher, envelope(command))
    async with archiving(path.pool, path.rabbitmq_url, REQUESTED_QUEUE):
        [row] = await archived(path.pool)
    aside = steps.describe(dict((await commands.find_steps(path.pool, transfer.id))[0]), {})
    path.start_worker()
    await dead_letters.replay(path.pool, publisher, row, BY)
    await path.finalized([transfer.id])
    done = steps.describe(dict((await commands.find_steps(path.pool, transfer.id))[0]), {})

    assert ("reversal", True) == (aside.waiting_for, "a person can look into it" in aside.summary)
    assert "dead_lettered" in [step["step"] for step in aside.steps]
    assert {"dead_lettered", "replayed", "completed"} <= {step["step"] for step in done.steps}
    assert None is done.waiting_for
