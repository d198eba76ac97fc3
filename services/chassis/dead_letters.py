"""Dead letters on record: what a consumer could not do, kept in the database of the service that owns the queue.

They are taken out of the broker's dead-letter queue (`dead_letter_archiver`), so that operators see them whatever becomes of the
broker, and stay for ever: waiting, replayed or discarded. A replay puts the message into its queue once more. What it asks for
is known by its id to whoever does it, so that a replay too many changes nothing.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from services.chassis import audit, database, replication
from services.chassis.audit import AuditEntry, Cursor
from services.chassis.broker import ATTEMPTS, REASON, Outgoing, Publisher
from services.chassis.database import Pool, Record
from services.chassis.statements import Statements
from services.contracts.identifiers import new_id, parse_id
from services.contracts.messages import format_time
from services.contracts.refusal import Refusal, Unavailable
from services.contracts.topology import QUEUES, ROUTES, Queue

WAITING = "waiting"
REPLAYED = "replayed"
DISCARDED = "discarded"

REASON_LENGTH_MAX = 500
IDS_MAX = 1000
ATTEMPTS_MAX = 2**31 - 1
"""As much as the column holds: whatever a header says, the letter has to be kept."""

BROKERS_REASON = "x-first-death-reason"
"""Header by which the broker itself tells why it moved a message."""

_SANE = re.compile(r"[A-Za-z0-9._:-]{1,64}")

_SUBJECTS = {queue.name: ROUTES[queue.routing_key].subject for queue in QUEUES}

statements = Statements(Path(__file__).parent / "sql" / "queries_dead_letters.sql")


class DeadLetterNotFound(Refusal):
    """There is no such dead letter."""

    status = 404
    code = "dead_letter_not_found"


class DeadLetterResolved(Refusal):
    """The dead letter has been dealt with in another way."""

    status = 409
    code = "dead_letter_resolved"


class DeadLetterNotReplayable(Refusal):
    """A replay of this dead letter would do something that nobody asked for."""

    status = 409
    code = "dead_letter_not_replayable"


class BrokerUnavailable(Unavailable):
    """The broker has not confirmed the message; the dead letter still waits."""

    code = "broker_unavailable"


class Letter(NamedTuple):
    """A dead letter as it arrived. `content_hash` is that of its items, whatever envelope they came in."""

    queue: str
    reason: str
    attempts: int
    message_id: str
    content_hash: bytes
    body: bytes
    subject_ids: list[UUID]
    request_ids: list[str]


class Replay(NamedTuple):
    """Who wants a dead letter to be tried again, or be gone, and by which request."""

    operator_id: UUID
    request_id: str


def read(queue: Queue, body: bytes, headers: Mapping[str, Any], message_id: str | None) -> Letter:
    """What can be told of a message from the dead-letter queue of `queue`; it may hold anything."""
    attempts = headers.get(ATTEMPTS)
    reason = headers.get(REASON) or f"broker: {headers.get(BROKERS_REASON) or 'not said'}"
    items = read_items(queue, body)
    return Letter(
        queue=queue.name,
        reason=_storable(str(reason))[:REASON_LENGTH_MAX],
        attempts=min(max(attempts, 0), ATTEMPTS_MAX) if isinstance(attempts, int) else 0,
        message_id=_identifier(message_id, body),
        content_hash=sha256(_content(items, body)).digest(),
        body=body,
        subject_ids=_distinct(parse_id(text) for text in _texts(items, f"{subject_of(queue.name)}_id")),
        request_ids=_distinct(text if _SANE.fullmatch(text) else None for text in _texts(items, "request_id")),
    )


def read_items(queue: Queue, body: bytes) -> dict[str, Any] | None:
    """Type, version and items of a message, as far as it is an envelope; None for what is none."""
    name = ROUTES[queue.routing_key].items
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not isinstance(document.get(name), list):
        return None
    return {"type": document.get("type"), "version": document.get("version"), "items": document[name]}


async def keep(pool: Pool, letters: Sequence[Letter]) -> None:
    """Put letters on record, in one commit. What is on record already stays as it is; its copy is counted.

    When it returns all are replicated: their messages may be acknowledged.

    Raises:
        CommitUnknown: all or none may be recorded; keep them again.
        DatabaseUnavailable, LockTimeout: none was recorded; keep them again.
    """
    async with database.transaction(pool) as connection:
        # In one order, so that two who keep the same letters do not wait for each other.
        for letter in sorted(letters, key=lambda one: (one.content_hash, one.message_id)):
            await connection.execute(statements.keep_dead_letter, new_id(), *letter)
        # What was on record already has written nothing.
        await replication.await_replication(connection)


async def count(pool: Pool, queue: Queue) -> int:
    """How many wait for a human."""
    async with database.connection(pool) as connection:
        waiting: int = await connection.fetchval(statements.count_dead_letters, queue.name)
    return waiting


async def list_letters(
    pool: Pool, *, queue_name: str | None, state: str | None, below: Cursor | None, limit: int
) -> list[Record]:
    """A page, newest first."""
    position = below or (None, None)
    async with database.connection(pool) as connection:
        return list(await connection.fetch(statements.list_dead_letters, queue_name, state, *position, limit))


async def get(pool: Pool, letter_id: UUID) -> Record:
    """One dead letter.

    Raises:
        DeadLetterNotFound
    """
    async with database.connection(pool) as connection:
        row = await connection.fetchrow(statements.find_dead_letter, letter_id)
    if row is None:
        raise DeadLetterNotFound
    return row


async def replay(pool: Pool, publisher: Publisher, letter: Record, by: Replay) -> Record:
    """Publish a letter to its queue with a fresh attempt count; then, when it is confirmed, mark it, on record.

    Between the confirm and the mark this may die: then it still waits, and is replayed twice, which does no harm.

    Raises:
        BrokerUnavailable: no confirm; nothing is marked.
        DeadLetterResolved: it was discarded.
    """
    if letter["state"] == DISCARDED:
        raise DeadLetterResolved("the dead letter was discarded")
    again = Outgoing("", letter["queue"], bytes(letter["body"]), {ATTEMPTS: 0}, message_id=str(new_id()))
    [failed] = await publisher.publish([again])
    if failed is not None:
        raise BrokerUnavailable(
            f"the broker has not confirmed the message ({failed.reason}); the dead letter still waits"
        )
    async with database.transaction(pool) as connection:
        await connection.fetchrow(statements.lock_dead_letter, letter["id"])
        marked = await connection.fetchrow(statements.mark_replayed, letter["id"], letter["seen"])
        assert marked is not None, "dead letters are never removed"
        await audit.append(connection, [_act("dead_letter_replayed", marked, by, {})])
    return marked


async def discard(pool: Pool, letter_id: UUID, reason: str, by: Replay) -> Record:
    """Let a letter wait no longer, on record; again is the same. No transfer is touched.

    Raises:
        DeadLetterNotFound
        DeadLetterResolved: it was replayed.
    """
    async with database.transaction(pool) as connection:
        letter = await connection.fetchrow(statements.lock_dead_letter, letter_id)
        if letter is None:
            raise DeadLetterNotFound
        if letter["state"] == REPLAYED:
            raise replication.OnceReplicated(DeadLetterResolved("the dead letter was replayed"))
        if letter["state"] == DISCARDED:
            return letter
        marked = await connection.fetchrow(statements.mark_discarded, letter_id, reason)
        assert marked is not None, "it is locked and waits"
        await audit.append(connection, [_act("dead_letter_discarded", marked, by, {"reason": reason})])
    return marked


def render(letter: Record) -> dict[str, Any]:
    """A dead letter as JSON, without its body."""
    return {
        "id": str(letter["id"]),
        "queue": letter["queue"],
        "state": letter["state"],
        "reason": letter["reason"],
        "attempts": letter["attempts"],
        "message_id": letter["message_id"],
        **_subject_ids(letter),
        "request_ids": list(letter["request_ids"]),
        "seen": letter["seen"],
        "first_seen_at": format_time(letter["first_seen_at"]),
        "last_seen_at": format_time(letter["last_seen_at"]),
        "replays": letter["replays"],
        "replayed_at": _time(letter["replayed_at"]),
        "discarded_at": _time(letter["discarded_at"]),
        "discard_reason": letter["note"],
    }


def render_whole(letter: Record) -> dict[str, Any]:
    """A dead letter as JSON: its body as text, null when it is none, and its very bytes."""
    body = bytes(letter["body"])
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = None
    return render(letter) | {"body": text, "body_base64": base64.b64encode(body).decode()}


def _act(action: str, letter: Record, by: Replay, detail: Mapping[str, Any]) -> AuditEntry:
    about = {"queue": letter["queue"], **_subject_ids(letter)}
    return AuditEntry(action, by.operator_id, "dead_letter", letter["id"], by.request_id, detail=about | dict(detail))


def subject_of(queue_name: str) -> str:
    """The kind of thing that the items of a queue are about."""
    return _SUBJECTS[queue_name]


def _subject_ids(letter: Record) -> dict[str, list[str]]:
    return {f"{subject_of(letter['queue'])}_ids": [str(id_) for id_ in letter["subject_ids"]]}


def _content(items: Mapping[str, Any] | None, body: bytes) -> bytes:
    if items is None:
        return body
    try:
        return json.dumps([items["type"], items["version"], items["items"]], sort_keys=True).encode()
    except RecursionError:
        # As deep as can just be read, and no deeper.
        return body


def _texts(items: Mapping[str, Any] | None, field: str) -> list[str]:
    found = [item.get(field) for item in items["items"] if isinstance(item, dict)] if items else []
    return [text for text in found if isinstance(text, str)]


def _distinct(values: Any) -> list[Any]:
    return list(dict.fromkeys(value for value in values if value is not None))[:IDS_MAX]


def _identifier(message_id: str | None, body: bytes) -> str:
    """By what a second copy of this very message is recognised; the publisher may have given it nothing, or anything."""
    if message_id is not None and _SANE.fullmatch(message_id):
        return message_id
    return sha256((message_id or "").encode(errors="replace") + body).hexdigest()


def _storable(text: str) -> str:
    """PostgreSQL holds neither NUL nor half a surrogate pair."""
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()


def _time(moment: datetime | None) -> str | None:
    return format_time(moment) if moment is not None else None
