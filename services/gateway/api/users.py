"""Operator routes for user accounts."""

from __future__ import annotations

from aiohttp import web

from services.contracts.api_keys import Scope
from services.gateway import errors, operations, responses, schemas
from services.gateway.operations import BODY, QUERY, Access, Operation, Response, path_id
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.security.revocations import REVOCATIONS
from services.gateway.upstreams import UPSTREAMS

BASE = f"{operations.BASE}/ops/users"


async def find_user(request: web.Request) -> web.Response:
    """Find a user by e-mail address."""
    query: schemas.ops.UserQuery = request[QUERY]
    return responses.document(await request.app[UPSTREAMS].auth.find_account(query.email))


async def set_role(request: web.Request) -> web.Response:
    """Change a user's role.

    Losing the operator role ends all sessions of the user, everywhere within a second. You cannot demote your own account, or
    the last operator who is not disabled.
    """
    body: schemas.ops.RoleChange = request[BODY]
    account = await request.app[UPSTREAMS].auth.set_role(
        path_id(request, errors.UserNotFound), role=body.role, operator_id=request[PRINCIPAL].user_id
    )
    request.app[REVOCATIONS].notify()
    return responses.document(account)


async def disable(request: web.Request) -> web.Response:
    """Disable a user.

    The user can no longer log in, and all sessions end, everywhere within a second. You cannot disable your own account, or the
    last operator who is not disabled. The reason is visible to operators only. The user can no longer be found by e-mail. Money
    sent to a wallet by its id still arrives: freeze the wallet to stop it.
    """
    body: schemas.ops.DisableUser = request[BODY]
    account = await request.app[UPSTREAMS].auth.disable_user(
        path_id(request, errors.UserNotFound), reason=body.reason, operator_id=request[PRINCIPAL].user_id
    )
    request.app[REVOCATIONS].notify()
    return responses.document(account)


async def enable(request: web.Request) -> web.Response:
    """Enable a user.

    The user can log in again; ended sessions stay ended.
    """
    account = await request.app[UPSTREAMS].auth.enable_user(
        path_id(request, errors.UserNotFound), operator_id=request[PRINCIPAL].user_id
    )
    request.app[REVOCATIONS].notify()
    return responses.document(account)


OPERATIONS = (
    Operation(
        "GET",
        BASE,
        find_user,
        (Response(200, "The user.", schemas.ops.Account),),
        access=Access.OPERATOR,
        query=schemas.ops.UserQuery,
        refusals=(errors.UserNotFound,),
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "PUT",
        f"{BASE}/{{id}}/role",
        set_role,
        (Response(200, "The user.", schemas.ops.Account),),
        access=Access.OPERATOR,
        body=schemas.ops.RoleChange,
        refusals=(errors.UserNotFound, errors.CannotModifySelf, errors.LastOperator),
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "PUT",
        f"{BASE}/{{id}}/disable",
        disable,
        (Response(200, "The disabled user.", schemas.ops.Account),),
        access=Access.OPERATOR,
        body=schemas.ops.DisableUser,
        refusals=(errors.UserNotFound, errors.CannotModifySelf, errors.LastOperator),
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "DELETE",
        f"{BASE}/{{id}}/disable",
        enable,
        (Response(200, "The enabled user.", schemas.ops.Account),),
        access=Access.OPERATOR,
        refusals=(errors.UserNotFound,),
        key_scope=Scope.OPERATE,
    ),
)
