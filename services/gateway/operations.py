"""What the gateway offers, as rows: one operation is one method at one address, with all that it takes and may answer.

The rows are read three times: to register the routes, to check each request before its handler sees it, and to write the
OpenAPI document. So what is documented is what is checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any

from aiohttp import web
from pydantic import BaseModel, TypeAdapter

from services.chassis import body
from services.chassis.watchdog import RequestTooSlow
from services.contracts.api_keys import Scope
from services.contracts.identifiers import parse_id
from services.contracts.refusal import FieldError, Refusal
from services.gateway import compression
from services.gateway.errors import NoResponseInTime, UnknownParameter

BASE = "/api/v1"

OF_PEOPLE = (f"{BASE}/auth/", f"{BASE}/api-keys")
"""Where accounts, sessions and keys are kept: an API key has no business there, whatever the row says."""

REQUEST_SECONDS = 10.0
"""How long any request may take; the calls behind it have less."""

BODY_SECONDS = 5.0
"""How long the body may take to arrive."""

_NOTHING = object()
"""No body: something else than the JSON `null`."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Access(StrEnum):
    """Who may use an operation."""

    PUBLIC = "public"
    USER = "user"
    OPERATOR = "operator"


class NoKey(Enum):
    """That no API key will do, said on purpose."""

    NO_KEY = "no key"


NO_KEY = NoKey.NO_KEY


@dataclass(frozen=True, slots=True)
class Answer:
    """One way in which an operation succeeds."""

    status: int
    description: str
    model: type[BaseModel] | None = None
    media_type: str = "application/json"
    headers: tuple[str, ...] = ()
    events: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    """Of a stream: its types of events and the model of their data."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One row. The handler's docstring is its description; without a handler, somebody else serves the address.

    `query_free` lets any query parameter pass unread; `asks` tells whether a service behind is asked; `seconds` is the
    deadline of the handler, None where it keeps deadlines itself; `limit` is a rate limit of its own, beside those that hold
    for every operation. `key_scope` is what an API key needs here, or `NO_KEY`; a row that does not say takes none.
    """

    method: str
    path: str
    handler: Handler | None
    answers: tuple[Answer, ...]
    access: Access = Access.USER
    summary: str = ""
    body: type[BaseModel] | None = None
    body_required: bool = True
    query: type[BaseModel] | None = None
    query_free: bool = False
    headers: tuple[str, ...] = ()
    refusals: tuple[type[Refusal], ...] = ()
    limit: str | None = None
    asks: bool = True
    seconds: float | None = REQUEST_SECONDS
    key_scope: Scope | NoKey | None = None

    @property
    def says_what_a_key_may(self) -> bool:
        """Whether the row, or its address, tells if an API key will do."""
        return self.key_scope is not None or self.path.startswith(OF_PEOPLE)

    @property
    def scope(self) -> Scope | None:
        """What an API key needs for this; None where no key will do, which is the answer to whatever nobody thought of."""
        if self.access is Access.PUBLIC or self.path.startswith(OF_PEOPLE):
            return None
        return self.key_scope if isinstance(self.key_scope, Scope) else None


OPERATIONS: web.AppKey[dict[Any, Operation]] = web.AppKey("operations")
"""By the handler that the router finds."""

BODY: web.RequestKey[Any] = web.RequestKey("body", object)
"""The body as the operation's model; None where it is optional and was not sent."""

SENT: web.RequestKey[Any] = web.RequestKey("sent", object)
"""The body as it was sent: parsed, nothing filled in."""

QUERY: web.RequestKey[Any] = web.RequestKey("query", object)
"""The query parameters as the operation's model."""


def add_routes(app: web.Application, operations: Iterable[Operation]) -> None:
    """Register every operation that has a handler."""
    registered = app[OPERATIONS] = {}
    for operation in operations:
        if operation.handler is None:
            continue
        guarded = _guarded(operation, operation.handler)
        if operation.method == "GET":
            guarded = compression.shrinking(guarded)
        registered[guarded] = operation
        if operation.method == "GET":
            app.router.add_get(operation.path, guarded, allow_head=True)
        else:
            app.router.add_route(operation.method, operation.path, guarded)


def of(request: web.Request) -> Operation | None:
    """The operation that this request is for; None where nothing or somebody else stands at the address."""
    return request.app[OPERATIONS].get(request.match_info.handler)


def path_id(request: web.Request, missing: type[Refusal]) -> str:
    """The id in the path, in its canonical form.

    Raises:
        Refusal: `missing`, when it is no id at all: nobody can tell it from an unknown one.
    """
    identifier = parse_id(request.match_info["id"])
    if identifier is None:
        raise missing
    return str(identifier)


def _guarded(operation: Operation, handler: Handler) -> Handler:
    body_adapter = TypeAdapter(operation.body) if operation.body is not None else None
    query_adapter = TypeAdapter(operation.query) if operation.query is not None else None

    async def guarded(request: web.Request) -> web.StreamResponse:
        if query_adapter is not None:
            request[QUERY] = body.validate(query_adapter, _parameters(request))
        elif not operation.query_free and request.query:
            raise UnknownParameter(*dict.fromkeys(request.query))
        if body_adapter is not None:
            sent = request[SENT] = await _read(request, required=operation.body_required)
            request[BODY] = None if sent is _NOTHING else body.validate(body_adapter, sent)
        if operation.seconds is None:
            return await handler(request)
        try:
            async with asyncio.timeout(operation.seconds) as clock:
                return await handler(request)
        except TimeoutError:
            if clock.expired():
                raise NoResponseInTime from None
            raise

    return guarded


async def _read(request: web.Request, *, required: bool) -> Any:
    if required:
        # Nobody waits for a body that will be refused, or unpacks it.
        body.check_media_type(request)
    body.check_length(request)
    # Most bodies arrive with their headers; only for the others a clock is worth its price.
    if not request.content.is_eof():
        await _arrive(request)
    if not required and not await request.read():
        return _NOTHING
    return await body.read_json(request)


async def _arrive(request: web.Request) -> None:
    try:
        async with asyncio.timeout(BODY_SECONDS) as clock:
            await request.read()
    except TimeoutError:
        if clock.expired():
            raise RequestTooSlow(headers={"Connection": "close"}) from None
        raise


def _parameters(request: web.Request) -> dict[str, str]:
    parameters = dict(request.query)
    if len(parameters) != len(request.query):
        twice = [name for name in parameters if len(request.query.getall(name)) > 1]
        raise body.InvalidRequest(errors=[FieldError(name, "is given more than once") for name in twice])
    if "" in parameters:
        raise UnknownParameter("")
    return parameters
