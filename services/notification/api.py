"""Internal routes of the notification service: parse, run a command, render."""

from __future__ import annotations

from aiohttp import web

from services.chassis import audit
from services.chassis.body import InvalidParameter, path_id, validate, validate_json
from services.chassis.database import Pool
from services.chassis.server import callers
from services.chassis.service_tokens import TokenVerifier
from services.contracts.identifiers import parse_id
from services.contracts.refusals.notification import NotificationNotFound
from services.notification import commands, commands_events, feed, schemas

POOL: web.AppKey[Pool] = web.AppKey("pool")
READ_POOL: web.AppKey[Pool] = web.AppKey("read_pool")
"""For lists of users and operators: live events do not wait for these connections."""


def add_routes(app: web.Application, verifier: TokenVerifier) -> None:
    """Each route with the identities that may call it."""
    gateway = callers(verifier, ["gateway"])
    app.add_routes(
        [
            web.get("/internal/notifications", gateway(list_notifications)),
            web.post("/internal/notifications/{id}/read", gateway(read_notification)),
            web.get("/internal/transfers/{transfer_id}/notifications", gateway(list_notifications_of_transfer)),
            web.post("/internal/events", gateway(list_events)),
            web.get("/internal/audit", gateway(audit.reader(READ_POOL, audit.statements.list_audit))),
        ]
    )


async def list_notifications(request: web.Request) -> web.Response:
    """A page of one user's notifications, newest first."""
    query = validate(schemas.PAGE, dict(request.query))
    found = await commands.list_notifications(
        request.app[READ_POOL], query.user_id, below=query.below, limit=query.limit + 1
    )
    return web.json_response(schemas.page(found, query.limit))


async def read_notification(request: web.Request) -> web.Response:
    """Mark a notification as read."""
    body = validate_json(schemas.READ, await request.read())
    notification_id = path_id(request, NotificationNotFound)
    return web.json_response(
        feed.notification(await commands.mark_read(request.app[POOL], notification_id, body.user_id))
    )


async def list_notifications_of_transfer(request: web.Request) -> web.Response:
    """The notifications of a transfer."""
    transfer_id = parse_id(request.match_info["transfer_id"])
    if transfer_id is None:
        raise InvalidParameter("transfer_id", "must be an id")
    return web.json_response(
        schemas.transfer_notifications(
            await commands.list_notifications_of_transfer(request.app[READ_POOL], transfer_id)
        )
    )


async def list_events(request: web.Request) -> web.Response:
    """New lines in the feeds of many users; feeds without new lines are omitted."""
    body = validate_json(schemas.FEEDS, await request.read())
    updates = await commands_events.read_feeds(request.app[POOL], body.cursors, limit=body.limit)
    return web.json_response(schemas.feeds(updates))
