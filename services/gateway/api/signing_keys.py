"""Routes of operators about the keys that sign access tokens."""

from __future__ import annotations

from aiohttp import web

from services.contracts.api_keys import Scope
from services.gateway import operations, responses, schemas
from services.gateway.operations import Access, Answer, Operation
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.upstreams import UPSTREAMS, call

BASE = f"{operations.BASE}/ops/keys"


async def list_signing_keys(request: web.Request) -> web.Response:
    """The keys of access tokens, oldest first, and what each of them does now."""
    return responses.document(await call(request.app[UPSTREAMS].auth, "GET", "/internal/keys"))


async def rotate_signing_keys(request: web.Request) -> web.Response:
    """Make a new key for access tokens, without logging anyone out.

    It is published at once and signs as soon as every gateway must have learned it. The one before verifies until its last token
    has expired, and then retires by itself. While a key waits to sign, no further one is made (200 instead of 201).
    """
    body = {"operator_id": request[PRINCIPAL].user_id}
    rotation = await call(request.app[UPSTREAMS].auth, "POST", "/internal/keys/rotate", body=body, once=True)
    return responses.document(rotation, status=201 if rotation["rotated"] else 200)


OPERATIONS = (
    Operation(
        "GET",
        BASE,
        list_signing_keys,
        (Answer(200, "The keys.", schemas.system.SigningKeyList),),
        access=Access.OPERATOR,
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "POST",
        f"{BASE}/rotate",
        rotate_signing_keys,
        (
            Answer(201, "A new key is published.", schemas.system.Rotation),
            Answer(200, "A key was waiting already.", schemas.system.Rotation),
        ),
        access=Access.OPERATOR,
        body=schemas.types.Nothing,
        body_required=False,
        key_scope=Scope.OPERATE,
    ),
)
