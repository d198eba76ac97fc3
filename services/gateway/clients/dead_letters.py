"""Dead letters of a service that consumes a queue."""

from __future__ import annotations

from collections.abc import Mapping

from services.chassis.dead_letters import DeadLetterNotFound
from services.gateway.clients import service
from services.gateway.clients.service import Json, ServiceClient, call

PATH = "/internal/dead-letters"


class DeadLetterClient(ServiceClient):
    """A service with dead letters."""

    async def list_dead_letters(self, params: Mapping[str, str]) -> Json:
        """A page of dead letters, without their bodies."""
        page: Json = await call(self._upstream, "GET", PATH, params=params, seconds=service.SIDE_SECONDS)
        return page

    async def count_dead_letters(self) -> int:
        """How many dead letters wait for an operator."""
        count: int = (await call(self._upstream, "GET", f"{PATH}/waiting", seconds=service.SIDE_SECONDS))["waiting"]
        return count

    async def get_dead_letter(self, dead_letter_id: str) -> Json:
        """One dead letter with its body."""
        dead_letter: Json = await call(self._upstream, "GET", f"{PATH}/{dead_letter_id}", missing=DeadLetterNotFound)
        return dead_letter

    async def replay_dead_letter(
        self, dead_letter_id: str, *, operator_id: str, request_id: str, dry_run: bool
    ) -> Json:
        """Publish the message again, or preview what that would do."""
        body = {"operator_id": operator_id, "request_id": request_id, "dry_run": dry_run}
        path = f"{PATH}/{dead_letter_id}/replay"
        preview: Json = await call(self._upstream, "POST", path, body=body, missing=DeadLetterNotFound)
        return preview

    async def discard_dead_letter(self, dead_letter_id: str, *, operator_id: str, request_id: str, reason: str) -> Json:
        """Discard it; its transfer is not touched."""
        body = {"operator_id": operator_id, "request_id": request_id, "reason": reason}
        path = f"{PATH}/{dead_letter_id}/discard"
        dead_letter: Json = await call(self._upstream, "POST", path, body=body, missing=DeadLetterNotFound)
        return dead_letter
