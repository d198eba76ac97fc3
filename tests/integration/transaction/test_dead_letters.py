"""Dead letters: archived from the broker, and what an operator can do with them."""

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

UNREACHABLE = "amqp://user:password@127.0.0.1:9"
BY = Actor(new_id(), "the-request-1")


@pytest.fixture
async def publisher(path: MoneyPath) -> AsyncIterator[Publisher]:
    opened = Publisher(path.rabbitmq_url, "test")
    yield opened
    await opened.close()


async def accepted(path: MoneyPath, amount: int = 5) -> tuple[Transfer, str]:
    """A PENDING transfer and its command."""
    [(alice, _), (_, bob_wallet)] = await path.users([1000, 0])
    [result] = await accept(path.intake(), request(alice, bob_wallet, amount))
    assert isinstance(result, Accepted)
    return result.transfer, await path.pool.fetchval("SELECT body FROM outbox WHERE id = $1", result.transfer.id)


def envelope(*commands_: str) -> bytes:
    return encode_envelope(TRANSFERS_REQUESTED, commands_, sent_at=datetime.now(UTC))


async def put(
    publisher: Publisher, *bodies: bytes, reason: str = "attempts_max: test", message_id: str | None = None
) -> None:
    """Put messages among the dead letters, each with its own id unless one is given."""
    queue = REQUESTED_QUEUE.dead_letter
    messages = [
        OutgoingMessage("", queue, body, {REASON: reason}, message_id=message_id or str(new_id())) for body in bodies
    ]
    assert not any(await publisher.publish(messages))


async def depth(publisher: Publisher) -> int:
    return (await publisher.depths([REQUESTED_QUEUE.dead_letter]))[REQUESTED_QUEUE.dead_letter]


async def test_any_message_is_archived(path: MoneyPath, publisher: Publisher) -> None:
    """Guarantee 37: bytes, an unknown version, malformed ids and a NUL: each is archived as it arrived, with its content."""
    transfer, command = await accepted(path)
    malformed = json.dumps(json.loads(command) | {"request_id": "a\x00b\r\n", "transfer_id": "\ud800"})
    bodies = [b"\xff\x00 no json", envelope(command).replace(b'"version":1', b'"version":9'), envelope(malformed)]
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


async def test_malformed_headers_are_archived(path: MoneyPath) -> None:
    """Whatever the headers are, the dead letter is archived: one that could not be would block all after it."""
    for number, attempts in enumerate(malformed := (2**40, -1, "many", True)):
        body = f"poison {number}".encode()
        await dead_letters.archive(path.pool, [dead_letters.read(REQUESTED_QUEUE, body, {ATTEMPTS: attempts}, "\x00")])

    assert [2**31 - 1, 0, 0, 1] == [row["attempts"] for row in await archived(path.pool, len(malformed))]


def test_deeply_nested_message_is_archived() -> None:
    """A message nested as deep as can be parsed, or deeper, is archived like any other."""
    for depth in range(900, 1010):
        body = b'{"type":"t","version":1,"commands":[' + b"[" * depth + b"]" * depth + b"]}"
        assert body == dead_letters.read(REQUESTED_QUEUE, body, {}, None).body


async def test_copies_share_one_row(path: MoneyPath) -> None:
    """Copies are counted in one row while it waits; a redelivered message changes nothing, even once resolved."""
    _, command = await accepted(path)
    first, second = (dead_letters.read(REQUESTED_QUEUE, envelope(command), {}, str(new_id())) for _ in range(2))

    for batch in ([first], [first], [second, first], [second]):
        await dead_letters.archive(path.pool, batch)
    [row] = await archived(path.pool)
    seen = row["seen"]
    await dead_letters.discard(path.pool, row["id"], "seen", BY)
    await dead_letters.archive(path.pool, [second])

    assert seen >= 2
    assert ["discarded"] == [row["state"] for row in await path.pool.fetch("SELECT state FROM dead_letters")]


async def test_crash_before_the_acknowledgement_leaves_one_row(
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


async def test_message_that_cannot_be_archived_stays_in_the_broker(
    path: MoneyPath, publisher: Publisher, transaction_database: TestDatabase
) -> None:
    """While the database cannot be written nothing is acknowledged; the message stays and is archived later."""
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


async def test_replay_moves_money_once(path: MoneyPath, publisher: Publisher) -> None:
    """Guarantee 37: replayed five times, also beside a worker and after its outcome: the money moved once; each is audited."""
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


async def test_unconfirmed_replay_marks_nothing(path: MoneyPath) -> None:
    """With the broker unavailable a replay is 503; the dead letter waits, and no action is audited."""
    _, command = await accepted(path)
    await dead_letters.archive(path.pool, [dead_letters.read(REQUESTED_QUEUE, envelope(command), {}, None)])
    [row] = await archived(path.pool)
    nowhere = Publisher(UNREACHABLE, "test")

    with pytest.raises(BrokerUnavailable):
        await dead_letters.replay(path.pool, nowhere, row, BY)

    assert [("waiting", 0)] == [(r["state"], r["replays"]) for r in await path.pool.fetch("SELECT * FROM dead_letters")]
    assert 0 == await path.pool.fetchval("SELECT count(*) FROM audit_log")


async def test_dead_letter_that_fails_again_stays_waiting(path: MoneyPath, publisher: Publisher) -> None:
    """A dead letter that returned before its replay was marked is not marked as replayed: it waits, seen twice."""
    row_body = b"still no json"
    await dead_letters.archive(path.pool, [dead_letters.read(REQUESTED_QUEUE, row_body, {}, str(new_id()))])
    [row] = await archived(path.pool)
    # Returned already, as with a fast worker and archiver.
    await dead_letters.archive(path.pool, [dead_letters.read(REQUESTED_QUEUE, row_body, {}, str(new_id()))])
    marked = await dead_letters.replay(path.pool, publisher, row, BY)

    assert ("waiting", 2, 1) == (marked["state"], marked["seen"], marked["replays"])


async def test_replayed_poison_message_returns(path: MoneyPath, publisher: Publisher) -> None:
    """Guarantee 37: a message that cannot be decoded is replayed without harm and waits again; no process ends."""
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


async def test_command_that_was_not_accepted_is_not_replayed(path: MoneyPath) -> None:
    """A command that no client requested would move money: the preview says so, and a replay is refused."""
    _, command = await accepted(path)
    fields = json.loads(command)
    changes = (
        {"transfer_id": str(new_id())},
        {"amount": 6},
        {"destination_id": str(new_id())},
        {"source_id": str(new_id())},
        {"currency": "EUR"},
        {"expires_at": "2999-01-01T00:00:00.000000Z"},
        {"request_hash": "00" * 32},
    )
    forged = [envelope(json.dumps(fields | change)) for change in changes]
    read = [dead_letters.read(REQUESTED_QUEUE, body, {}, None) for body in [envelope(command), *forged]]
    await dead_letters.archive(path.pool, read)
    by_body = {bytes(row["body"]): row for row in await archived(path.pool, len(read))}
    preview = replay.previewer(path.pool)
    previews = [await preview(by_body[body]) for body in forged]
    accepted_preview = await preview(by_body[read[0].body])

    assert [["refused"]] * len(changes) == [[effect.effect for effect in one.effects] for one in previews]
    assert None not in [one.refusal for one in previews]
    assert (["post"], None) == ([effect.effect for effect in accepted_preview.effects], accepted_preview.refusal)


async def test_refused_replay_publishes_nothing(path: MoneyPath, publisher: Publisher) -> None:
    """A refused replay publishes nothing and marks nothing."""
    _, command = await accepted(path)
    forged = envelope(command.replace('"amount":5', '"amount":6'))
    await dead_letters.archive(path.pool, [dead_letters.read(REQUESTED_QUEUE, forged, {}, None)])
    [row] = await archived(path.pool)
    dead_letter_api = DeadLetterApi(
        path.pool,
        REQUESTED_QUEUE,
        read_pool=path.pool,
        broker_url=path.rabbitmq_url,
        instance="t",
        preview=replay.previewer(path.pool),
    )
    body = json.dumps({"operator_id": str(BY.operator_id), "request_id": BY.request_id}).encode()
    with pytest.raises(DeadLetterNotReplayable):
        await dead_letter_api.replay(api_request(row["id"], body))

    assert 0 == (await publisher.depths([REQUESTED_QUEUE.name]))[REQUESTED_QUEUE.name]
    assert 0 == await path.pool.fetchval("SELECT sum(replays) FROM dead_letters")


async def test_discard_writes_on_the_main_pool(path: MoneyPath, transaction_database: TestDatabase) -> None:
    """Dead letters are read on the read pool; actions of operators are written on the other."""
    _, command = await accepted(path)
    await dead_letters.archive(path.pool, [dead_letters.read(REQUESTED_QUEUE, envelope(command), {}, None)])
    [row] = await archived(path.pool)
    read_pool = await transaction_database.pool(default_transaction_read_only="on")
    path.stack.push_async_callback(close_pool, read_pool)
    dead_letter_api = DeadLetterApi(
        path.pool,
        REQUESTED_QUEUE,
        read_pool=read_pool,
        broker_url="",
        instance="t",
        preview=replay.previewer(read_pool),
    )
    body = {"operator_id": str(BY.operator_id), "request_id": BY.request_id, "reason": "a test"}
    response = await dead_letter_api.discard(api_request(row["id"], json.dumps(body).encode()))

    assert 200 == response.status
    assert "discarded" == await path.pool.fetchval("SELECT state FROM dead_letters")


def api_request(dead_letter_id: UUID, body: bytes) -> web.Request:
    """A request to the dead-letter API, as from the server."""
    payload = StreamReader(BaseProtocol(asyncio.get_running_loop()), 2**16)
    payload.feed_data(body)
    payload.feed_eof()
    return make_mocked_request("POST", "/", match_info={"id": str(dead_letter_id)}, payload=payload)


async def test_dry_run_shows_the_effect_on_each_transfer(path: MoneyPath) -> None:
    """An expired PENDING transfer would be voided, a conflict or an undecodable command returns; nothing is published."""
    path.reversal_after = timedelta(milliseconds=1)
    late, late_command = await accepted(path)
    path.reversal_after = timedelta(seconds=60)
    malformed, malformed_command = await accepted(path)
    clash, clash_command = await accepted(path)
    await commands.mark_conflicted(path.pool, [clash.id])
    body = envelope(late_command, malformed_command.replace('"amount":5', '"amount":"5"'), clash_command)
    await dead_letters.archive(path.pool, [dead_letters.read(REQUESTED_QUEUE, body, {}, None)])
    [row] = await archived(path.pool)

    preview = await replay.previewer(path.pool)(row)

    assert {late.id: "void", malformed.id: "dead_letter", clash.id: "dead_letter"} == {
        effect.subject_id: effect.effect for effect in preview.effects
    }
    assert preview.refusal is None


async def test_discard_changes_no_transfer(path: MoneyPath, publisher: Publisher) -> None:
    """A discarded dead letter keeps its reason, once in the audit log; the reversal still ends its transfer."""
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


async def test_action_that_cannot_be_audited_is_not_done(path: MoneyPath, transaction_database: TestDatabase) -> None:
    """While the audit log cannot be written a dead letter is not discarded."""
    await dead_letters.archive(path.pool, [dead_letters.read(REQUESTED_QUEUE, b"poison", {}, None)])
    [row] = await archived(path.pool)
    owner = await asyncpg.connect(transaction_database.owner_url)
    await owner.execute("REVOKE INSERT ON audit_log FROM payflow_transaction")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await dead_letters.discard(path.pool, row["id"], "looked at", BY)
    await owner.close()

    assert "waiting" == await path.pool.fetchval("SELECT state FROM dead_letters")


async def test_dead_letters_are_never_removed(path: MoneyPath, transaction_database: TestDatabase) -> None:
    """DELETE and TRUNCATE are refused to all roles, and the service cannot change the content of a dead letter."""
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


async def test_progress_names_a_dead_letter(path: MoneyPath, publisher: Publisher) -> None:
    """Guarantee 67: a transfer whose command is a dead letter says so, waits for the reversal, and after a replay is final."""
    transfer, command = await accepted(path)
    await put(publisher, envelope(command))
    async with archiving(path.pool, path.rabbitmq_url, REQUESTED_QUEUE):
        [row] = await archived(path.pool)
    aside = steps.describe(dict((await commands.find_steps(path.pool, transfer.id))[0]), {})
    path.start_worker()
    await dead_letters.replay(path.pool, publisher, row, BY)
    await path.finalized([transfer.id])
    done = steps.describe(dict((await commands.find_steps(path.pool, transfer.id))[0]), {})

    assert ("reversal", True) == (aside.waiting_for, "our team can retry it" in aside.summary)
    assert "dead_lettered" in [step["step"] for step in aside.steps]
    assert {"dead_lettered", "replayed", "completed"} <= {step["step"] for step in done.steps}
    assert None is done.waiting_for
