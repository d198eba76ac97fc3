"""The operations of the API as rows: one method and path each, with all that it accepts and may respond.

The rows have three uses: they register the routes, validate each request before its handler runs, and generate the OpenAPI
document. So what is documented is what is validated.
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
from services.contracts.refusal import FieldError, Refusal
from services.gateway import compression
from services.gateway.errors import NoResponseInTime, UnknownParameter
from services.gateway.schemas.types import canonical_id

BASE = "/api/v1"

OF_USERS = (f"{BASE}/auth/", f"{BASE}/api-keys")
"""Paths of accounts, sessions and keys: API keys are never accepted there, whatever the row says."""

REQUEST_SECONDS = 10.0
"""The deadline of a request; calls to upstream services have shorter ones."""

BODY_SECONDS = 5.0
"""The deadline for the body to arrive."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Access(StrEnum):
    """The callers that an operation accepts."""

    PUBLIC = "public"
    USER = "user"
    OPERATOR = "operator"


class NoKey(Enum):
    """Explicitly states that API keys are not accepted."""

    NO_KEY = "no key"


NO_KEY = NoKey.NO_KEY


@dataclass(frozen=True, slots=True)
class Response:
    """One successful response of an operation."""

    status: int
    description: str
    model: type[BaseModel] | None = None
    media_type: str = "application/json"
    headers: tuple[str, ...] = ()
    events: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    """For a stream: its types of events and the models of their data."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. The docstring of the handler is its description; without a handler, the chassis serves the path.

    `query_free`: query parameters are ignored; `calls_upstream`: an upstream service is called; `seconds`: the deadline of the
    handler, None if it enforces its own; `limit`: an additional rate limit; `key_scope`: the scope that an API key needs, or
    `NO_KEY`. A row without `key_scope` does not accept API keys.
    """

    method: str
    path: str
    handler: Handler | None
    responses: tuple[Response, ...]
    access: Access = Access.USER
    summary: str = ""
    body: type[BaseModel] | None = None
    body_required: bool = True
    query: type[BaseModel] | None = None
    query_free: bool = False
    headers: tuple[str, ...] = ()
    refusals: tuple[type[Refusal], ...] = ()
    limit: str | None = None
    calls_upstream: bool = True
    seconds: float | None = REQUEST_SECONDS
    key_scope: Scope | NoKey | None = None

    @property
    def states_key_access(self) -> bool:
        """Whether the row, or its path, states if API keys are accepted."""
        return self.key_scope is not None or self.path.startswith(OF_USERS)

    @property
    def scope(self) -> Scope | None:
        """The scope that an API key needs; None, also by default, if API keys are not accepted."""
        if self.access is Access.PUBLIC or self.path.startswith(OF_USERS):
            return None
        return self.key_scope if isinstance(self.key_scope, Scope) else None


OPERATIONS: web.AppKey[dict[Any, Operation]] = web.AppKey("operations")
"""Operations by the handler that the router finds."""

BODY: web.RequestKey[Any] = web.RequestKey("body", object)
"""The body as the operation's model; None if it is optional and was not sent."""

SENT: web.RequestKey[Any] = web.RequestKey("sent", object)
"""The body as it was sent: parsed, without defaults; None if it is optional and was not sent."""

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
            guarded = compression.compressing(guarded)
        registered[guarded] = operation
        if operation.method == "GET":
            app.router.add_get(operation.path, guarded, allow_head=True)
        else:
            app.router.add_route(operation.method, operation.path, guarded)


def of(request: web.Request) -> Operation | None:
    """The operation of this request; None if the path is unknown or served by the chassis."""
    return request.app[OPERATIONS].get(request.match_info.handler)


def path_id(request: web.Request, missing: type[Refusal]) -> str:
    """The id in the path, in its canonical form.

    Raises:
        Refusal: `missing`, if it is not an id: it is reported like an unknown one.
    """
    try:
        return canonical_id(request.match_info["id"])
    except ValueError:
        raise missing from None


def _guarded(operation: Operation, handler: Handler) -> Handler:
    body_adapter = TypeAdapter(operation.body) if operation.body is not None else None
    query_adapter = TypeAdapter(operation.query) if operation.query is not None else None
    # Models cannot be changed, so all requests without parameters share one.
    no_query = _find_default(query_adapter)

    async def guarded(request: web.Request) -> web.StreamResponse:
        if no_query is not None and not request.rel_url.raw_query_string:
            request[QUERY] = no_query
        elif query_adapter is not None:
            request[QUERY] = body.validate(query_adapter, _parameters(request))
        elif not operation.query_free and request.rel_url.raw_query_string and request.query:
            raise UnknownParameter(*dict.fromkeys(request.query))
        if body_adapter is not None:
            raw = await _read(request, required=operation.body_required)
            request[SENT] = request[BODY] = None
            if raw is not None:
                sent = request[SENT] = body.parse(raw)
                request[BODY] = body.validate(body_adapter, sent, may_be_unstorable=body.may_be_unstorable(raw))
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


def _find_default(query: TypeAdapter[Any] | None) -> Any:
    """The query without parameters; None if there is no query, or a parameter is required."""
    try:
        return None if query is None else body.validate(query, {})
    except body.InvalidRequest:
        return None


async def _read(request: web.Request, *, required: bool) -> bytes | None:
    """The body; None if it is optional and was not sent."""
    if required:
        # A body that will be refused is neither awaited nor decompressed.
        body.check_media_type(request)
    body.check_length(request)
    # Most bodies arrive with their headers; only the others are worth the cost of a timeout.
    if request.content.is_eof():
        # Empty if a simulated failure has read it.
        raw = request.content.read_nowait() or await request.read()
        if len(raw) > request.client_max_size:
            raise web.HTTPRequestEntityTooLarge(max_size=request.client_max_size, actual_size=len(raw))
    else:
        raw = await _arrive(request)
    if not required:
        if not raw:
            return None
        body.check_media_type(request)
    return raw


async def _arrive(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_SECONDS) as clock:
            return await request.read()
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
