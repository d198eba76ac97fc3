"""Routes of what a user was told."""

from __future__ import annotations

from aiohttp import web

from services.contracts.api_keys import Scope
from services.gateway import errors, operations, responses, schemas
from services.gateway.operations import NO_KEY, QUERY, Answer, Operation, path_id
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.upstreams import UPSTREAMS, call

BASE = f"{operations.BASE}/notifications"


async def list_notifications(request: web.Request) -> web.Response:
    """Your notifications, newest first."""
    asked: schemas.types.PageQuery = request[QUERY]
    params = asked.parameters() | {"user_id": request[PRINCIPAL].user_id}
    return responses.document(
        await call(request.app[UPSTREAMS].notification, "GET", "/internal/notifications", params=params)
    )


async def read_notification(request: web.Request) -> web.Response:
    """Mark a notification as read."""
    notification_id = path_id(request, errors.NotificationNotFound)
    return responses.document(
        await call(
            request.app[UPSTREAMS].notification,
            "POST",
            f"/internal/notifications/{notification_id}/read",
            body={"user_id": request[PRINCIPAL].user_id},
            missing=errors.NotificationNotFound,
        )
    )


OPERATIONS = (
    Operation(
        "GET",
        BASE,
        list_notifications,
        (Answer(200, "A page of notifications.", schemas.events.NotificationPage),),
        query=schemas.types.PageQuery,
        key_scope=Scope.READ,
    ),
    Operation(
        "POST",
        f"{BASE}/{{id}}/read",
        read_notification,
        (Answer(200, "The notification.", schemas.events.Notification),),
        body=schemas.types.Nothing,
        body_required=False,
        refusals=(errors.NotificationNotFound,),
        key_scope=NO_KEY,
    ),
)
