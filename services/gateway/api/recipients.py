"""Routes for recipients of transfers."""

from __future__ import annotations

from aiohttp import web

from services.contracts.api_keys import Scope
from services.gateway import errors, operations, responses, schemas
from services.gateway.api import names
from services.gateway.operations import QUERY, Operation, Response
from services.gateway.upstreams import UPSTREAMS

BASE = f"{operations.BASE}/recipients"


async def find_recipient(request: web.Request) -> web.Response:
    """Find a recipient by e-mail address.

    The name is masked: enough to detect a mistyped address.
    """
    query: schemas.wallets.RecipientQuery = request[QUERY]
    found = await request.app[UPSTREAMS].auth.find_recipients([query.email])
    if not found:
        raise errors.RecipientNotFound
    return responses.document({"user_id": found[0]["user_id"], "name": names.mask(found[0]["name"])})


OPERATIONS = (
    Operation(
        "GET",
        BASE,
        find_recipient,
        (Response(200, "The recipient.", schemas.wallets.RecipientInfo),),
        query=schemas.wallets.RecipientQuery,
        refusals=(errors.RecipientNotFound,),
        limit="recipients",
        key_scope=Scope.READ,
    ),
)
