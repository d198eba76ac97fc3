"""Routes of those who could get something."""

from __future__ import annotations

from aiohttp import web

from services.contracts.api_keys import Scope
from services.gateway import errors, operations, responses, schemas
from services.gateway.api import names
from services.gateway.operations import QUERY, Answer, Operation
from services.gateway.upstreams import UPSTREAMS, call

BASE = f"{operations.BASE}/recipients"


async def find_recipient(request: web.Request) -> web.Response:
    """Who would get it.

    The name is masked: enough to notice a mistyped address.
    """
    asked: schemas.wallets.RecipientQuery = request[QUERY]
    found = await call(request.app[UPSTREAMS].auth, "POST", "/internal/recipients", body={"emails": [asked.email]})
    if not found["items"]:
        raise errors.RecipientNotFound
    person = found["items"][0]
    return responses.document({"user_id": person["user_id"], "name": names.mask(person["name"])})


OPERATIONS = (
    Operation(
        "GET",
        BASE,
        find_recipient,
        (Answer(200, "Who it is.", schemas.wallets.Recipient),),
        query=schemas.wallets.RecipientQuery,
        refusals=(errors.RecipientNotFound,),
        limit="recipients",
        key_scope=Scope.READ,
    ),
)
