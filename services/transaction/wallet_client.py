"""Client of the wallet service: post, void, look up wallets, read what can be spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from services.chassis import telemetry
from services.chassis.body import InvalidRequest
from services.chassis.client import Upstream, UpstreamTimeout, UpstreamUnavailable
from services.contracts.messages import TransferCommand, format_time
from services.contracts.refusal import Refusal
from services.transaction.store import WalletFacts

CALL_SECONDS = 5.0
FIND_SECONDS = 1.0
AFFORD_SECONDS = 0.1


class WalletResponse(NamedTuple):
    """The response for one transfer: posted, rejected, voided, conflict or retry."""

    transfer_id: UUID
    outcome: str
    reason: str | None
    at: datetime | None


class Availability(NamedTuple):
    """A wallet at one instant: what it can spend (minor units), whether it is frozen, which transfers the ledger has decided."""

    available: int
    frozen: bool
    decided: frozenset[UUID]


class WalletClient:
    """The wallet service, as the roles of the transaction service use it."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def post(self, commands: Sequence[TransferCommand]) -> list[WalletResponse]:
        """Post a batch; one response per command, in order. Raises as `Upstream.call` does: the outcome is then unknown."""
        items = [
            {
                "transfer_id": command.transfer_id,
                "source_id": command.source_id,
                "destination_id": command.destination_id,
                "amount": command.amount,
                "currency": command.currency,
                "expires_at": format_time(command.expires_at),
                "description": command.description,
                "request_hash": command.request_hash,
            }
            for command in commands
        ]
        response = None
        if telemetry.recorder is not None:
            response = await self._post_traced(items, commands)
        if response is None:
            response = await self._post(items)
        return [_response(item) for item in response["items"]]

    async def _post(self, items: Sequence[Mapping[str, Any]]) -> Any:
        return await self._upstream.call("POST", "/internal/post", body={"items": items}, seconds=CALL_SECONDS)

    async def _post_traced(self, items: Sequence[Mapping[str, Any]], commands: Sequence[TransferCommand]) -> Any:
        """Post with the trace context of each item; None from a wallet of an earlier release, which does not know the field.

        That wallet refuses the batch before it posts anything, as it does with one that has a malformed item.
        """
        traced = [{**item, "traceparent": it.traceparent} for item, it in zip(items, commands, strict=True)]
        try:
            return await self._post(traced)
        except Refusal as refusal:
            if refusal.code != InvalidRequest.code:
                raise
            return None

    async def void(self, transfers: Sequence[tuple[UUID, bytes]], reason: str) -> list[WalletResponse]:
        """Void each transfer (id, request hash) that is not decided; the outcome of each, in order."""
        items = [
            {"transfer_id": str(transfer_id), "reason": reason, "request_hash": request_hash.hex()}
            for transfer_id, request_hash in transfers
        ]
        response = await self._upstream.call("POST", "/internal/void", body={"items": items}, seconds=CALL_SECONDS)
        return [_response(item) for item in response["items"]]

    async def find(
        self, *, ids: Sequence[UUID], owners: Sequence[tuple[UUID, str]], external: Sequence[str]
    ) -> list[WalletFacts]:
        """Find wallets by id, by (owner, currency), and external accounts by currency; default wallets are opened on demand.

        Raises:
            UpstreamUnavailable: also without a response in time, because a look-up decides nothing.
        """
        body = {
            "ids": [str(id_) for id_ in ids],
            "owners": [{"owner_id": str(owner), "currency": currency} for owner, currency in owners],
            "external": list(external),
        }
        try:
            response = await self._upstream.call("POST", "/internal/wallets/find", body=body, seconds=FIND_SECONDS)
        except UpstreamTimeout as timeout:
            raise UpstreamUnavailable("wallets cannot be looked up at the moment") from timeout
        return [
            WalletFacts(UUID(item["id"]), UUID(item["owner_id"]) if item["owner_id"] else None, item["currency"])
            for item in response["items"]
        ]

    async def availability(self, pending: Mapping[UUID, Sequence[UUID]]) -> dict[UUID, Availability]:
        """The state of each wallet, all at one instant. `pending`: the PENDING transfers of each wallet."""
        items = [{"wallet_id": str(id_), "transfer_ids": [str(t) for t in ids]} for id_, ids in pending.items()]
        response = await self._upstream.call(
            "POST", "/internal/availability", body={"items": items}, seconds=AFFORD_SECONDS
        )
        return {
            UUID(item["wallet_id"]): Availability(
                item["available"], item["frozen"], frozenset(UUID(id_) for id_ in item["finalized"])
            )
            for item in response["items"]
            if item["available"] is not None
        }

    async def ping(self) -> None:
        """Raise when the wallet service is unreachable."""
        await self._upstream.ping()


def _response(item: Mapping[str, str | None]) -> WalletResponse:
    transfer_id, outcome, at = item["transfer_id"], item["outcome"], item["at"]
    assert transfer_id is not None, "each item has its transfer id"
    assert outcome is not None, "each item has an outcome"
    return WalletResponse(UUID(transfer_id), outcome, item["reason"], datetime.fromisoformat(at) if at else None)
