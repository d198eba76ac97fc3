"""Operator routes for the keys that sign access tokens."""

from __future__ import annotations

from aiohttp import web

from services.contracts.api_keys import Scope
from services.gateway import operations, responses, schemas
from services.gateway.operations import Access, Operation, Response
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.upstreams import UPSTREAMS

BASE = f"{operations.BASE}/ops/keys"


async def list_signing_keys(request: web.Request) -> web.Response:
    """List signing keys, oldest first."""
    return responses.document(await request.app[UPSTREAMS].auth.list_signing_keys())


async def rotate_signing_keys(request: web.Request) -> web.Response:
    """Rotate the signing key.

    Existing sessions are not affected. The new key is published at once and signs as soon as every gateway must have fetched it.
    The previous key verifies until its last token has expired and then retires. While a key waits to sign, no further one is
    created (200 instead of 201).
    """
    rotation = await request.app[UPSTREAMS].auth.rotate_signing_keys(request[PRINCIPAL].user_id)
    return responses.document(rotation, status=201 if rotation["rotated"] else 200)


OPERATIONS = (
    Operation(
        "GET",
        BASE,
        list_signing_keys,
        (Response(200, "The keys.", schemas.system.SigningKeyList),),
        access=Access.OPERATOR,
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "POST",
        f"{BASE}/rotate",
        rotate_signing_keys,
        (
            Response(201, "A new key is published.", schemas.system.Rotation),
            Response(200, "A key already waits to sign.", schemas.system.Rotation),
        ),
        access=Access.OPERATOR,
        body=schemas.types.Empty,
        body_required=False,
        key_scope=Scope.OPERATE,
    ),
)
