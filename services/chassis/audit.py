"""The audit log: appended in the commit of the action, and read by operators through the gateway.

Rows are never changed or removed: the database refuses it, even to its owner. If the row cannot be written, the action fails.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from aiohttp import web
from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter

from services.chassis import database
from services.chassis.body import InvalidParameter, read_id, validate
from services.chassis.database import Connection, Pool, Record
from services.chassis.period import PeriodParameters, read_moment, upper_bound
from services.chassis.problems import Handler
from services.chassis.statements import Statements
from services.contracts import limits
from services.contracts.identifiers import new_id
from services.contracts.messages import format_time

PAGE_MAX = limits.PAGE_MAX + 1
"""The longest page of the gateway and one more row, which shows that there is a next page."""

statements = Statements(Path(__file__).parent / "sql" / "queries_audit.sql")


class AuditEntry(NamedTuple):
    """One action of `actor_id` on a subject; `user_id` is the user concerned, if it is a single one."""

    action: str
    actor_id: UUID
    subject_kind: str
    subject_id: UUID
    request_id: str
    user_id: UUID | None = None
    detail: Mapping[str, Any] = {}


class Cursor(NamedTuple):
    """The position of a row in a list that is newest first; the id has the type of its column."""

    at: datetime
    id: object


class AuditQuery(PeriodParameters):
    """Filters and position of a page of the log."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    actor_id: UUID | None = None
    user_id: UUID | None = None
    action: Annotated[str, StringConstraints(max_length=100)] | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = PAGE_MAX
    before: str | None = None


AUDIT_QUERY = TypeAdapter(AuditQuery)


async def append(connection: Connection, actions: Sequence[AuditEntry]) -> None:
    """Record actions in the transaction of the caller."""
    rows = [
        (new_id(), one.action, one.actor_id, one.user_id, one.subject_kind, one.subject_id, one.detail, one.request_id)
        for one in actions
    ]
    ids, names, actors, users, kinds, subjects, details, requests = zip(*rows, strict=True)
    texts = [json.dumps(dict(detail)) for detail in details]
    await connection.execute(statements.append_audit, ids, names, actors, users, kinds, subjects, texts, requests)


def reader(
    pool: web.AppKey[Pool],
    statement: str,
    *,
    parse_row_id: Callable[[str], object] = read_id,
    lowest_id: object = UUID(int=0),
) -> Handler:
    """The handler of a service's `GET /internal/audit`; `statement` has the parameters of `list_audit`.

    `parse_row_id` converts the text of a row's id to the type of its column, and raises ValueError. `lowest_id` is below all ids.
    """

    async def list_entries(request: web.Request) -> web.Response:
        """A page of the log, newest first."""
        query = validate(AUDIT_QUERY, dict(request.query))
        upper = upper_bound(query.period.until, read_cursor(query.before, parse_row_id), lowest_id)
        async with database.connection(request.app[pool]) as connection:
            rows = await connection.fetch(
                statement,
                query.period.since,
                query.actor_id,
                query.user_id,
                query.action,
                *upper,
                query.limit,
            )
        return web.json_response({"items": [render(row) for row in rows]})

    return list_entries


def read_cursor(text: str | None, parse_row_id: Callable[[str], object] = read_id) -> Cursor | None:
    """Parse `TIME/ID`, which the gateway makes of the last row of a page; None: start at the newest.

    Raises:
        InvalidParameter
    """
    if text is None:
        return None
    moment, _, row_id = text.partition("/")
    try:
        return Cursor(read_moment(moment), parse_row_id(row_id))
    except ValueError:
        raise InvalidParameter("cursor", "is not a cursor of this list") from None


def render(row: Record) -> dict[str, Any]:
    """One action as JSON."""
    # A log without columns for the subject is about users alone.
    kind, subject_id = row.get("subject_kind", "user"), row.get("subject_id", row["user_id"])
    return {
        "id": str(row["id"]),
        "at": format_time(row["at"]),
        "action": row["action"],
        "actor_id": _text(row["actor_id"]),
        "user_id": _text(row["user_id"]),
        "subject": {"kind": kind, "id": str(subject_id)} if subject_id is not None else None,
        "detail": json.loads(row["detail"]),
        "request_id": row["request_id"],
    }


def read_whole_number(text: str) -> int:
    """A row id of a log whose ids are numbers.

    Raises:
        ValueError
    """
    if (
        not (text.isascii() and text.isdigit())
        or len(text) > len(str(limits.BIGINT_MAX))
        or int(text) > limits.BIGINT_MAX
    ):
        raise ValueError(text)
    return int(text)


def _text(identifier: UUID | None) -> str | None:
    return str(identifier) if identifier is not None else None
