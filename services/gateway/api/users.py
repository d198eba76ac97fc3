"""Routes of operators about users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from services.contracts.api_keys import Scope
from services.gateway import errors, operations, responses, schemas
from services.gateway.operations import BODY, QUERY, Access, Answer, Operation, path_id
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.security.revocations import SESSIONS
from services.gateway.upstreams import UPSTREAMS, call

BASE = f"{operations.BASE}/ops/users"


async def find_user(request: web.Request) -> web.Response:
    """The user with this e-mail address."""
    asked: schemas.ops.UserQuery = request[QUERY]
    body = {"email": asked.email}
    return responses.document(await call(request.app[UPSTREAMS].auth, "POST", "/internal/users/find", body=body))


async def set_role(request: web.Request) -> web.Response:
    """Give a user a role.

    Who loses the operator's role loses their sessions with it, everywhere within a second. Nobody takes it from themselves,
    and the last operator who is not disabled keeps it.
    """
    asked: schemas.ops.RoleChange = request[BODY]
    return await _act(request, "PUT", "role", {"role": asked.role})


async def disable(request: web.Request) -> web.Response:
    """Let nobody in as this user, and end all their sessions, everywhere within a second.

    You cannot disable your own account, or the last operator who is not disabled. The reason is for operators only. The user
    is no longer found by e-mail. Money sent to the wallet by its id still arrives: freeze the wallet to stop it.
    """
    asked: schemas.ops.DisableUser = request[BODY]
    return await _act(request, "PUT", "disable", {"reason": asked.reason})


async def enable(request: web.Request) -> web.Response:
    """Let a user in again; sessions that have ended stay ended."""
    return await _act(request, "DELETE", "disable", {})


async def _act(request: web.Request, method: str, action: str, body: Mapping[str, Any]) -> web.Response:
    user_id = path_id(request, errors.UserNotFound)
    account = await call(
        request.app[UPSTREAMS].auth,
        method,
        f"/internal/users/{user_id}/{action}",
        body={**body, "operator_id": request[PRINCIPAL].user_id},
    )
    request.app[SESSIONS].notify()
    return responses.document(account)


OPERATIONS = (
    Operation(
        "GET",
        BASE,
        find_user,
        (Answer(200, "The user.", schemas.ops.Account),),
        access=Access.OPERATOR,
        query=schemas.ops.UserQuery,
        refusals=(errors.UserNotFound,),
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "PUT",
        f"{BASE}/{{id}}/role",
        set_role,
        (Answer(200, "The user.", schemas.ops.Account),),
        access=Access.OPERATOR,
        body=schemas.ops.RoleChange,
        refusals=(errors.UserNotFound, errors.CannotModifySelf, errors.LastOperator),
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "PUT",
        f"{BASE}/{{id}}/disable",
        disable,
        (Answer(200, "Disabled.", schemas.ops.Account),),
        access=Access.OPERATOR,
        body=schemas.ops.DisableUser,
        refusals=(errors.UserNotFound, errors.CannotModifySelf, errors.LastOperator),
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "DELETE",
        f"{BASE}/{{id}}/disable",
        enable,
        (Answer(200, "Enabled.", schemas.ops.Account),),
        access=Access.OPERATOR,
        refusals=(errors.UserNotFound,),
        key_scope=Scope.OPERATE,
    ),
)
