"""Routes of API keys. A person's session makes, lists and revokes them; a key does none of this."""

from __future__ import annotations

from aiohttp import web

from services.gateway import errors, operations, responses, schemas
from services.gateway.api import credentials
from services.gateway.operations import BODY, Answer, Operation, path_id
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.security.revocations import SESSIONS
from services.gateway.upstreams import UPSTREAMS, call

BASE = f"{operations.BASE}/api-keys"


async def create_api_key(request: web.Request) -> web.Response:
    """Make a key for a server of yours.

    Your password is asked for once more, and a code where a second factor is on: an access token ends in ten minutes, and who
    found one must not make something of it that lasts. Wrong ones count as at a login.
    You are told of each new key by a letter.

    The key is shown in this answer and never again: only its hash is kept. A key speaks for you within its scopes, which do not
    include one another; `operate` is for operators. Logging out does not end it. Revoking it does, and so does whatever ends all
    your sessions: another password, ending all others, an operator who disables you or takes your role.
    """
    asked: schemas.api_keys.NewApiKey = request[BODY]
    body = asked.model_dump(mode="json") | {"session_id": request[PRINCIPAL].session_id}
    # Nobody there: the session ended while the request was on its way.
    created = await credentials.show_own(
        request, "POST", "/internal/api-keys", body, once=True, missing=errors.InvalidToken
    )
    return responses.document(created, status=201, headers={"Location": f"{BASE}/{created['id']}"})


async def list_api_keys(request: web.Request) -> web.Response:
    """Your keys, newest first, without the keys themselves.

    `last_used_at` is accurate to ten minutes. Revoked keys are not listed.
    """
    params = {"user_id": request[PRINCIPAL].user_id}
    keys = await call(request.app[UPSTREAMS].auth, "GET", "/internal/api-keys", params=params)
    return responses.document(keys | {"next_cursor": None})


async def revoke_api_key(request: web.Request) -> web.Response:
    """End a key, everywhere within a second."""
    key_id = path_id(request, errors.ApiKeyNotFound)
    await call(
        request.app[UPSTREAMS].auth,
        "DELETE",
        f"/internal/api-keys/{key_id}",
        params={"user_id": request[PRINCIPAL].user_id},
        missing=errors.ApiKeyNotFound,
    )
    request.app[SESSIONS].end(key_id)
    return responses.empty()


OPERATIONS = (
    Operation(
        "POST",
        BASE,
        create_api_key,
        (Answer(201, "The key, shown this once.", schemas.api_keys.CreatedApiKey, headers=("Location",)),),
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
    Operation("GET", BASE, list_api_keys, (Answer(200, "The keys.", schemas.api_keys.ApiKeyList),)),
    Operation(
        "DELETE",
        f"{BASE}/{{id}}",
        revoke_api_key,
        (Answer(204, "Revoked."),),
        refusals=(errors.ApiKeyNotFound,),
    ),
)
