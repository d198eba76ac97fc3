"""Routes for notifications."""

from __future__ import annotations

from aiohttp import web

from services.contracts.api_keys import Scope
from services.gateway import errors, operations, responses, schemas
from services.gateway.operations import NO_KEY, QUERY, Operation, Response, path_id
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.upstreams import UPSTREAMS

BASE = f"{operations.BASE}/notifications"


async def list_notifications(request: web.Request) -> web.Response:
    """List notifications, newest first."""
    query: schemas.types.PageQuery = request[QUERY]
    notification = request.app[UPSTREAMS].notification
    return responses.document(await notification.list_notifications(request[PRINCIPAL].user_id, query.parameters()))


async def read_notification(request: web.Request) -> web.Response:
    """Mark a notification as read."""
    notification_id = path_id(request, errors.NotificationNotFound)
    notification = request.app[UPSTREAMS].notification
    return responses.document(await notification.mark_read(notification_id, user_id=request[PRINCIPAL].user_id))


OPERATIONS = (
    Operation(
        "GET",
        BASE,
        list_notifications,
        (Response(200, "A page of notifications.", schemas.events.NotificationPage),),
        query=schemas.types.PageQuery,
        key_scope=Scope.READ,
    ),
    Operation(
        "POST",
        f"{BASE}/{{id}}/read",
        read_notification,
        (Response(200, "The notification.", schemas.events.Notification),),
        body=schemas.types.Empty,
        body_required=False,
        refusals=(errors.NotificationNotFound,),
        key_scope=NO_KEY,
    ),
)
