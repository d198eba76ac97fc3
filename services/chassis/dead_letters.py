"""Dead letters: messages that a consumer could not process, stored in the database of the service that owns the queue.

The archiver (`dead_letter_archiver`) moves them there from the broker's dead-letter queue, so that operators see them whatever
happens to the broker. They are never removed: waiting, replayed or discarded. A replay publishes the message to its queue again.
Consumers recognise what they have done by its id, so replaying twice is harmless.
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
from services.chassis.broker import ATTEMPTS, REASON, OutgoingMessage, Publisher
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
"""The largest value of the column: a message must be archived whatever its header contains."""

BROKERS_REASON = "x-first-death-reason"
"""Header in which the broker states why it dead-lettered a message itself."""

_IDENTIFIER = re.compile(r"[A-Za-z0-9._:-]{1,64}")

_SUBJECTS = {queue.name: ROUTES[queue.routing_key].subject for queue in QUEUES}

statements = Statements(Path(__file__).parent / "sql" / "queries_dead_letters.sql")


class DeadLetterNotFound(Refusal):
    """There is no such dead letter."""

    status = 404
    code = "dead_letter_not_found"


class DeadLetterResolved(Refusal):
    """The dead letter was already resolved in another way."""

    status = 409
    code = "dead_letter_resolved"


class DeadLetterNotReplayable(Refusal):
    """Replaying this dead letter would do something that no client requested."""

    status = 409
    code = "dead_letter_not_replayable"


class BrokerUnavailable(Unavailable):
    """The broker has not confirmed the message; the dead letter is still waiting."""

    code = "broker_unavailable"


class NewDeadLetter(NamedTuple):
    """A dead letter as it arrived. `content_hash` is the hash of its items, independent of their envelope."""

    queue: str
    reason: str
    attempts: int
    message_id: str
    content_hash: bytes
    body: bytes
    subject_ids: list[UUID]
    request_ids: list[str]


class Actor(NamedTuple):
    """The operator who replays or discards a dead letter, and the request."""

    operator_id: UUID
    request_id: str


def read(queue: Queue, body: bytes, headers: Mapping[str, Any], message_id: str | None) -> NewDeadLetter:
    """Read a message from the dead-letter queue of `queue`; it may contain anything."""
    attempts = headers.get(ATTEMPTS)
    reason = headers.get(REASON) or f"broker: {headers.get(BROKERS_REASON) or 'not stated'}"
    items = read_items(queue, body)
    return NewDeadLetter(
        queue=queue.name,
        reason=_storable(str(reason))[:REASON_LENGTH_MAX],
        attempts=min(max(attempts, 0), ATTEMPTS_MAX) if isinstance(attempts, int) else 0,
        message_id=_identifier(message_id, body),
        content_hash=sha256(_content(items, body)).digest(),
        body=body,
        subject_ids=_distinct(parse_id(text) for text in _texts(items, f"{subject_of(queue.name)}_id")),
        request_ids=_distinct(text if _IDENTIFIER.fullmatch(text) else None for text in _texts(items, "request_id")),
    )


def read_items(queue: Queue, body: bytes) -> dict[str, Any] | None:
    """Type, version and items of a message; None if it is not an envelope."""
    name = ROUTES[queue.routing_key].items
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not isinstance(document.get(name), list):
        return None
    return {"type": document.get("type"), "version": document.get("version"), "items": document[name]}


async def archive(pool: Pool, arrived: Sequence[NewDeadLetter]) -> None:
    """Store dead letters in one commit. Stored ones do not change; a copy of a waiting one is counted there.

    When it returns, all are replicated: their messages may be acknowledged.

    Raises:
        CommitUnknown: all or none may be stored; archive them again.
        DatabaseUnavailable, LockTimeout: none was stored; archive them again.
    """
    async with database.transaction(pool) as connection:
        # Sorted, so that two archivers of the same dead letters do not deadlock.
        for dead_letter in sorted(arrived, key=lambda one: (one.content_hash, one.message_id)):
            await connection.execute(statements.archive_dead_letter, new_id(), *dead_letter)
        # A dead letter that was already stored has written nothing.
        await replication.await_replication(connection)


async def count(pool: Pool, queue: Queue) -> int:
    """Count the waiting dead letters."""
    async with database.connection(pool) as connection:
        waiting: int = await connection.fetchval(statements.count_dead_letters, queue.name)
    return waiting


async def list_dead_letters(
    pool: Pool, *, queue_name: str | None, state: str | None, below: Cursor | None, limit: int
) -> list[Record]:
    """A page, newest first."""
    position = below or (None, None)
    async with database.connection(pool) as connection:
        return list(await connection.fetch(statements.list_dead_letters, queue_name, state, *position, limit))


async def get(pool: Pool, dead_letter_id: UUID) -> Record:
    """Get one dead letter.

    Raises:
        DeadLetterNotFound
    """
    async with database.connection(pool) as connection:
        row = await connection.fetchrow(statements.find_dead_letter, dead_letter_id)
    if row is None:
        raise DeadLetterNotFound
    return row


async def replay(pool: Pool, publisher: Publisher, dead_letter: Record, actor: Actor) -> Record:
    """Publish a dead letter to its queue with a reset count of attempts; after the confirm, mark it and audit the action.

    After a crash between confirm and mark it is still waiting and may be replayed again, which is harmless.

    Raises:
        BrokerUnavailable: no confirm; nothing is marked.
        DeadLetterResolved: it was discarded.
    """
    if dead_letter["state"] == DISCARDED:
        raise DeadLetterResolved("the dead letter was discarded")
    message = OutgoingMessage(
        "", dead_letter["queue"], bytes(dead_letter["body"]), {ATTEMPTS: 0}, message_id=str(new_id())
    )
    [failed] = await publisher.publish([message])
    if failed is not None:
        raise BrokerUnavailable(
            f"the broker has not confirmed the message ({failed.reason}); the dead letter is still waiting"
        )
    async with database.transaction(pool) as connection:
        await connection.fetchrow(statements.lock_dead_letter, dead_letter["id"])
        marked = await connection.fetchrow(statements.mark_replayed, dead_letter["id"], dead_letter["seen"])
        assert marked is not None, "dead letters are never removed"
        await audit.append(connection, [_entry("dead_letter_replayed", marked, actor, {})])
    return marked


async def discard(pool: Pool, dead_letter_id: UUID, reason: str, actor: Actor) -> Record:
    """Discard a waiting dead letter and audit the action; repeating it changes nothing. Its subjects are not touched.

    Raises:
        DeadLetterNotFound
        DeadLetterResolved: it was replayed.
    """
    async with database.transaction(pool) as connection:
        dead_letter = await connection.fetchrow(statements.lock_dead_letter, dead_letter_id)
        if dead_letter is None:
            raise DeadLetterNotFound
        if dead_letter["state"] == REPLAYED:
            raise replication.OnceReplicated(DeadLetterResolved("the dead letter was replayed"))
        if dead_letter["state"] == DISCARDED:
            return dead_letter
        marked = await connection.fetchrow(statements.mark_discarded, dead_letter_id, reason)
        assert marked is not None, "it is locked and waiting"
        await audit.append(connection, [_entry("dead_letter_discarded", marked, actor, {"reason": reason})])
    return marked


def render(dead_letter: Record) -> dict[str, Any]:
    """A dead letter as JSON, without its body."""
    return {
        "id": str(dead_letter["id"]),
        "queue": dead_letter["queue"],
        "state": dead_letter["state"],
        "reason": dead_letter["reason"],
        "attempts": dead_letter["attempts"],
        "message_id": dead_letter["message_id"],
        **_subject_ids(dead_letter),
        "request_ids": list(dead_letter["request_ids"]),
        "seen": dead_letter["seen"],
        "first_seen_at": format_time(dead_letter["first_seen_at"]),
        "last_seen_at": format_time(dead_letter["last_seen_at"]),
        "replays": dead_letter["replays"],
        "replayed_at": _time(dead_letter["replayed_at"]),
        "discarded_at": _time(dead_letter["discarded_at"]),
        "discard_reason": dead_letter["note"],
    }


def render_detail(dead_letter: Record) -> dict[str, Any]:
    """A dead letter as JSON with its body: as text (null if it is not UTF-8), and as base64."""
    body = bytes(dead_letter["body"])
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = None
    return render(dead_letter) | {"body": text, "body_base64": base64.b64encode(body).decode()}


def _entry(action: str, dead_letter: Record, actor: Actor, detail: Mapping[str, Any]) -> AuditEntry:
    about = {"queue": dead_letter["queue"], **_subject_ids(dead_letter)}
    return AuditEntry(
        action, actor.operator_id, "dead_letter", dead_letter["id"], actor.request_id, detail=about | dict(detail)
    )


def subject_of(queue_name: str) -> str:
    """The kind of thing that the items of a queue are about."""
    return _SUBJECTS[queue_name]


def _subject_ids(dead_letter: Record) -> dict[str, list[str]]:
    return {f"{subject_of(dead_letter['queue'])}_ids": [str(id_) for id_ in dead_letter["subject_ids"]]}


def _content(items: Mapping[str, Any] | None, body: bytes) -> bytes:
    if items is None:
        return body
    try:
        return json.dumps([items["type"], items["version"], items["items"]], sort_keys=True).encode()
    except RecursionError:
        # The parser accepts one level more than the encoder.
        return body


def _texts(items: Mapping[str, Any] | None, field: str) -> list[str]:
    found = [item.get(field) for item in items["items"] if isinstance(item, dict)] if items else []
    return [text for text in found if isinstance(text, str)]


def _distinct(values: Any) -> list[Any]:
    return list(dict.fromkeys(value for value in values if value is not None))[:IDS_MAX]


def _identifier(message_id: str | None, body: bytes) -> str:
    """The id by which a second copy of this message is recognised; the publisher's own id may be missing or invalid."""
    if message_id is not None and _IDENTIFIER.fullmatch(message_id):
        return message_id
    return sha256((message_id or "").encode(errors="replace") + body).hexdigest()


def _storable(text: str) -> str:
    """Replace what PostgreSQL cannot store: NUL and halves of surrogate pairs."""
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()


def _time(moment: datetime | None) -> str | None:
    return format_time(moment) if moment is not None else None
