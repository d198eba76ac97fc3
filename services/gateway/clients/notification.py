"""The notification service: notifications and the feeds of live events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.contracts.refusals.notification import NotificationNotFound
from services.gateway.clients import service
from services.gateway.clients.dead_letters import DeadLetterClient
from services.gateway.clients.service import Json, call


class NotificationClient(DeadLetterClient):
    """The notification service."""

    async def list_notifications(self, user_id: str, page: Mapping[str, str]) -> Json:
        """A page of a user's notifications; `page` is `limit` and perhaps `cursor`."""
        params = {**page, "user_id": user_id}
        found: Json = await call(self._upstream, "GET", "/internal/notifications", params=params)
        return found

    async def mark_read(self, notification_id: str, *, user_id: str) -> Json:
        """Mark a notification of this user as read."""
        path = f"/internal/notifications/{notification_id}/read"
        body = {"user_id": user_id}
        notification: Json = await call(self._upstream, "POST", path, body=body, missing=NotificationNotFound)
        return notification

    async def list_of_transfer(self, transfer_id: str) -> Json:
        """The notifications that a transfer caused."""
        path = f"/internal/transfers/{transfer_id}/notifications"
        found: Json = await call(self._upstream, "GET", path, seconds=service.SIDE_SECONDS)
        return found

    async def read_feeds(
        self, positions: Sequence[tuple[str, int | None]], *, limit: int, seconds: float
    ) -> list[Json]:
        """The events after each position (user id, number of the last event or None), at most `limit` of each feed."""
        body = {"items": [{"user_id": user_id, "after": after} for user_id, after in positions], "limit": limit}
        items: list[Json] = (await call(self._upstream, "POST", "/internal/events", body=body, seconds=seconds))[
            "items"
        ]
        return items
