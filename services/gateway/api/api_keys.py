"""Routes for API keys. They require a session; an API key cannot manage keys."""

from __future__ import annotations

from aiohttp import web

from services.gateway import errors, operations, responses, schemas
from services.gateway.api import credentials
from services.gateway.operations import BODY, Operation, Response, path_id
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.security.revocations import REVOCATIONS
from services.gateway.upstreams import UPSTREAMS

BASE = f"{operations.BASE}/api-keys"


async def create_api_key(request: web.Request) -> web.Response:
    """Create an API key.

    Requires the password, and a code if a second factor is enabled, because a key outlives an access token. Wrong passwords and
    codes are throttled as at login. The user gets an e-mail about each new key.

    The key is shown only in this response; only its hash is stored. It works within its scopes, which do not include one another;
    `operate` is for operators. Logging out does not end it. Revoking it does, and so does everything that ends all sessions: a
    changed password, ending all other sessions, an operator who disables the user or removes the role.
    """
    body: schemas.api_keys.NewApiKey = request[BODY]
    principal = request[PRINCIPAL]
    async with credentials.confirmation(request, with_code=body.totp is not None):
        created = await request.app[UPSTREAMS].auth.create_api_key(
            user_id=principal.user_id,
            session_id=principal.session_id,
            password=body.password,
            totp=body.totp,
            name=body.name,
            scopes=body.scopes,
            expires_at=body.model_dump(mode="json")["expires_at"],
        )
    return responses.document(created, status=201, headers={"Location": f"{BASE}/{created['id']}"})


async def list_api_keys(request: web.Request) -> web.Response:
    """List API keys, newest first.

    The keys themselves are not included, and neither are revoked keys. `last_used_at` is accurate to ten minutes.
    """
    keys = await request.app[UPSTREAMS].auth.list_api_keys(request[PRINCIPAL].user_id)
    return responses.document(keys | {"next_cursor": None})


async def revoke_api_key(request: web.Request) -> web.Response:
    """Revoke an API key.

    It stops working everywhere within a second.
    """
    key_id = path_id(request, errors.ApiKeyNotFound)
    await request.app[UPSTREAMS].auth.revoke_api_key(key_id, user_id=request[PRINCIPAL].user_id)
    request.app[REVOCATIONS].add(key_id)
    return responses.empty()


OPERATIONS = (
    Operation(
        "POST",
        BASE,
        create_api_key,
        (Response(201, "The key, shown only here.", schemas.api_keys.CreatedApiKey, headers=("Location",)),),
        body=schemas.api_keys.NewApiKey,
        refusals=(
            errors.InvalidCredentials,
            errors.TotpRequired,
            errors.UserDisabled,
            errors.OperatorRequired,
            errors.ApiKeyLimitReached,
            errors.TooManyLogins,
        ),
    ),
    Operation("GET", BASE, list_api_keys, (Response(200, "The keys.", schemas.api_keys.ApiKeyList),)),
    Operation(
        "DELETE",
        f"{BASE}/{{id}}",
        revoke_api_key,
        (Response(204, "The key is revoked."),),
        refusals=(errors.ApiKeyNotFound,),
    ),
)
