"""What this service asks auth: who is behind an e-mail address."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from services.chassis.client import Upstream

RECIPIENTS_SECONDS = 1.0


class AuthClient:
    """The auth service as intake sees it."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def find_recipients(self, emails: Sequence[str]) -> dict[str, UUID]:
        """The users behind these addresses, by case-folded address; unknown ones are left out. Raises as `Upstream.call`."""
        answer = await self._upstream.call(
            "POST", "/internal/recipients", body={"emails": list(emails)}, seconds=RECIPIENTS_SECONDS
        )
        return {item["email"].casefold(): UUID(item["user_id"]) for item in answer["items"]}
