"""Client of the auth service: users by e-mail address."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from services.chassis.client import Upstream

RECIPIENTS_SECONDS = 1.0


class AuthClient:
    """The auth service, as the intake uses it."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def find_recipients(self, emails: Sequence[str]) -> dict[str, UUID]:
        """Users by case-folded e-mail address; unknown addresses are omitted. Raises as `Upstream.call` does."""
        response = await self._upstream.call(
            "POST", "/internal/recipients", body={"emails": list(emails)}, seconds=RECIPIENTS_SECONDS
        )
        return {item["email"].casefold(): UUID(item["user_id"]) for item in response["items"]}
