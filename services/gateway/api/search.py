"""Operator route that finds transfers of any user."""

from __future__ import annotations

from aiohttp import web

from services.contracts.api_keys import Scope
from services.gateway import errors, operations, responses, schemas
from services.gateway.operations import QUERY, Access, Operation, Response
from services.gateway.upstreams import UPSTREAMS, Upstreams

BASE = f"{operations.BASE}/ops/transfers"


async def find_transfers(request: web.Request) -> web.Response:
    """Find transfers by what is known about them.

    By `id`, by `user`, by `idempotency_key` or by `request_id`; without any of these, transfers that have been PENDING for more
    than `pending_seconds`, the oldest first. A request id is searched among the newest 100,000 transfers before
    `to`, a key without its user among 20,000: see `searched_from`. A request id that the gateway made is found at any age.
    """
    query: schemas.ops.SearchQuery = request[QUERY]
    upstreams = request.app[UPSTREAMS]
    known = query.known()
    if query.user is not None:
        known["user_id"] = await _user_id(upstreams, query.user)
    return responses.document(await upstreams.transaction.search(known))


async def _user_id(upstreams: Upstreams, name: str) -> str:
    return str((await upstreams.auth.find_account(name))["id"]) if "@" in name else name


OPERATIONS = (
    Operation(
        "GET",
        BASE,
        find_transfers,
        (Response(200, "The transfers found, newest first.", schemas.ops.FoundPage),),
        access=Access.OPERATOR,
        query=schemas.ops.SearchQuery,
        refusals=(errors.UserNotFound,),
        key_scope=Scope.OPERATE,
    ),
)
