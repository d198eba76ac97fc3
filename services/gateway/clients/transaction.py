"""The transaction service: transfers from their acceptance to their outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from services.chassis.client import Upstream, UpstreamUnavailable
from services.contracts.refusals.transaction import TransferNotFound
from services.gateway.clients import service
from services.gateway.clients.dead_letters import DeadLetterClient
from services.gateway.clients.service import Json, call

STEPS_SECONDS = 3.0
"""The deadline of the steps: without them an operator gets what the ledger knows."""


class TransferItem(TypedDict):
    """One transfer of a batch, with the ids that follow it through the services."""

    user_id: str
    idempotency_key: str
    request_hash: str
    kind: str
    amount: int
    currency: str
    to: dict[str, str]
    from_wallet_id: str | None
    description: str | None
    metadata: dict[str, Any] | None
    request_id: str
    traceparent: str | None
    simulation: NotRequired[dict[str, Any]]


class TransactionClient(DeadLetterClient):
    """The transaction service. Accepting transfers and waiting for outcomes use connections of their own."""

    def __init__(self, upstream: Upstream, *, intake: Upstream, waits: Sequence[Upstream]) -> None:
        super().__init__(upstream)
        self._intake = intake
        self._waits = tuple(waits)

    async def close(self) -> None:
        """Close all connections."""
        for upstream in (self._upstream, self._intake, *self._waits):
            await upstream.close()

    async def create_transfers(self, items: Sequence[TransferItem]) -> Any:
        """Accept a batch; the response has one item per transfer, in order."""
        return await call(self._intake, "POST", "/internal/transfers", body={"items": list(items)})

    async def list_transfers(self, viewer: str, params: Mapping[str, str]) -> Json:
        """A page of the viewer's transfers; `params` are its filters, `limit` and perhaps `cursor`."""
        page: Json = await call(self._upstream, "GET", "/internal/transfers", params={**params, "viewer": viewer})
        return page

    async def get_transfer(self, transfer_id: str, *, viewer: str) -> Json:
        """One transfer as its viewer may see it."""
        path = f"/internal/transfers/{transfer_id}"
        params = {"viewer": viewer}
        transfer: Json = await call(self._upstream, "GET", path, params=params, missing=TransferNotFound)
        return transfer

    async def wait_for_outcome(self, transfer_id: str, *, viewer: str, wait_seconds: int, seconds: float) -> Json:
        """The transfer, once it has its outcome or after `wait_seconds`. Each waiter holds one connection."""
        upstream = self._waits[int(transfer_id[-2:], 16) % len(self._waits)]
        params = {"viewer": viewer, "wait": str(wait_seconds)}
        path = f"/internal/transfers/{transfer_id}"
        transfer: Json = await call(upstream, "GET", path, params=params, seconds=seconds)
        return transfer

    async def cancel_transfer(self, transfer_id: str, *, viewer: str) -> Json:
        """Cancel a transfer for its sender."""
        path = f"/internal/transfers/{transfer_id}/cancel"
        transfer: Json = await call(self._upstream, "POST", path, body={"viewer": viewer}, missing=TransferNotFound)
        return transfer

    async def get_steps(self, transfer_id: str, *, viewer: str | None) -> Json:
        """The steps of a transfer so far; without a viewer, for an operator."""
        path = f"/internal/transfers/{transfer_id}/steps"
        params = None if viewer is None else {"viewer": viewer}
        steps: Json = await call(
            self._upstream, "GET", path, params=params, missing=TransferNotFound, seconds=STEPS_SECONDS
        )
        return steps

    async def search(self, params: Mapping[str, str]) -> Json:
        """Transfers of any user; `params` say what is known."""
        try:
            found: Json = await call(self._upstream, "GET", "/internal/search", params=params, is_new=True)
        except service.RouteUnknown:
            raise UpstreamUnavailable("the transaction service is being upgraded") from None
        return found

    async def get_overview(self) -> Json:
        """Queue, outbox, pending transfers, dead letters and jobs."""
        overview: Json = await call(self._upstream, "GET", "/internal/overview", seconds=service.SIDE_SECONDS)
        return overview

    async def set_freeze_hint(self, wallet_id: str, *, frozen: bool) -> None:
        """Announce that a wallet is frozen or open again."""
        path = f"/internal/wallets/{wallet_id}/freeze-hint"
        await call(self._upstream, "PUT", path, body={"frozen": frozen}, seconds=service.SIDE_SECONDS)
