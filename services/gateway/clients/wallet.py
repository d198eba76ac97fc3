"""The wallet service: wallets, balances, statements and the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TypedDict

from services.chassis.client import ConnectionLost, UpstreamUnavailable
from services.contracts.refusal import Refusal
from services.contracts.refusals.wallet import OutcomeNotFound, ProofRunNotFound, WalletNotFound
from services.gateway.clients import service
from services.gateway.clients.service import Json, ServiceClient, call

READ_SECONDS = 4.0
"""The deadline of a batched read. The database ends a query sooner; beyond that a process is frozen."""


class WalletItem(TypedDict):
    """A wallet to read, and the user whose wallet it must be."""

    wallet_id: str
    owner_id: str


class WalletRead(TypedDict):
    """A wallet, and the time at which it was read."""

    wallet: Json
    as_of: str


class WalletClient(ServiceClient):
    """The wallet service."""

    async def open_wallet(self, *, owner_id: str, currency: str) -> Json:
        """Open a wallet, or return the one that is open."""
        body = {"owner_id": owner_id, "currency": currency}
        wallet: Json = await call(self._upstream, "POST", "/internal/wallets", body=body)
        return wallet

    async def list_wallets(self, owner_id: str) -> list[Json]:
        """All wallets of one owner."""
        params = {"owner_id": owner_id}
        wallets: list[Json] = (await call(self._upstream, "GET", "/internal/wallets", params=params))["items"]
        return wallets

    async def read_wallets(self, wanted: Sequence[WalletItem]) -> list[WalletRead | Refusal]:
        """Several wallets now, in order; `WalletNotFound` for one that does not exist or belongs to another user."""
        body = {"items": list(wanted)}
        try:
            found = await call(
                self._upstream, "POST", "/internal/balances", body=body, seconds=READ_SECONDS, is_new=True
            )
        except service.RouteUnknown:
            return list(await asyncio.gather(*map(self._read_one, wanted)))
        except ConnectionLost:
            # A read has no outcome that could be unknown.
            raise UpstreamUnavailable("the wallet service is unavailable") from None
        return [WalletNotFound() if read is None else read for read in found["items"]]

    async def _read_one(self, wanted: WalletItem) -> WalletRead | Refusal:
        try:
            wallet = await self.get_wallet(wanted["wallet_id"])
            if wallet["owner_id"] != wanted["owner_id"]:
                return WalletNotFound()
            balance = await self.get_balance(wanted["wallet_id"], at=None)
        except Refusal as refusal:
            return refusal
        return {"wallet": {name: balance.get(name, wallet[name]) for name in wallet}, "as_of": balance["as_of"]}

    async def get_wallet(self, wallet_id: str) -> Json:
        """One wallet, of any owner."""
        wallet: Json = await call(self._upstream, "GET", f"/internal/wallets/{wallet_id}", missing=WalletNotFound)
        return wallet

    async def get_balance(self, wallet_id: str, *, at: str | None) -> Json:
        """The balance at an instant, None for now."""
        path = f"/internal/wallets/{wallet_id}/balance"
        params = {} if at is None else {"at": at}
        balance: Json = await call(self._upstream, "GET", path, params=params, missing=WalletNotFound)
        return balance

    async def get_statement(self, wallet_id: str, page: Mapping[str, str]) -> Json:
        """A page of entries; `page` is `limit` and perhaps `cursor`, `from` and `to`."""
        path = f"/internal/wallets/{wallet_id}/statement"
        found: Json = await call(self._upstream, "GET", path, params=page, missing=WalletNotFound)
        return found

    async def freeze(self, wallet_id: str, *, operator_id: str, request_id: str) -> Json:
        """Freeze a wallet."""
        return await self._set_frozen("PUT", wallet_id, operator_id=operator_id, request_id=request_id)

    async def unfreeze(self, wallet_id: str, *, operator_id: str, request_id: str) -> Json:
        """Unfreeze a wallet."""
        return await self._set_frozen("DELETE", wallet_id, operator_id=operator_id, request_id=request_id)

    async def _set_frozen(self, method: str, wallet_id: str, *, operator_id: str, request_id: str) -> Json:
        path = f"/internal/wallets/{wallet_id}/freeze"
        body = {"operator_id": operator_id, "request_id": request_id}
        wallet: Json = await call(self._upstream, method, path, body=body, missing=WalletNotFound)
        return wallet

    async def get_outcome(self, transfer_id: str) -> Json:
        """What the ledger decided about a transfer.

        Raises:
            Refusal: with status 404 when it has not decided yet.
        """
        path = f"/internal/outcomes/{transfer_id}"
        outcome: Json = await call(self._upstream, "GET", path, seconds=service.SIDE_SECONDS)
        return outcome

    async def admit_outcome(self, transfer_id: str, *, reason: str, operator_id: str, request_id: str) -> Json:
        """Admit a late outcome, or return its admission."""
        path = f"/internal/admissions/{transfer_id}"
        body = {"reason": reason, "operator_id": operator_id, "request_id": request_id}
        try:
            admission: Json = await call(self._upstream, "PUT", path, body=body, missing=OutcomeNotFound, is_new=True)
        except service.RouteUnknown:
            raise _being_upgraded() from None
        return admission

    async def get_balance_sheet(self) -> Json:
        """What customers hold and what came from outside, per currency."""
        sheet: Json = await call(self._upstream, "GET", "/internal/balance-sheet")
        return sheet

    async def get_last_proof(self, *, seconds: float | None = None) -> Json:
        """The last run of the ledger's proof; a first run when there was none."""
        proof: Json = await call(self._upstream, "GET", "/internal/proof", seconds=seconds)
        return proof

    async def run_proof(self, *, whole: bool, head: str | None, seconds: float) -> Json:
        """A new run of the ledger's proof, which must find the block `head` (NUMBER:HASH); `whole` compares all blocks."""
        params = {"full" if whole else "new": "1"} | ({} if head is None else {"head": head})
        proof: Json = await call(self._upstream, "GET", "/internal/proof", params=params, seconds=seconds)
        return proof

    async def start_proof(self, *, full: bool, head: str | None) -> Json:
        """Start a run of the proof, or return the one in progress."""
        body = {"full": full, "head": head}
        try:
            run: Json = await call(self._upstream, "POST", "/internal/proof-runs", body=body, is_new=True)
        except service.RouteUnknown:
            raise _being_upgraded() from None
        except ConnectionLost:
            # Repeated, the request returns the run that it started.
            raise UpstreamUnavailable("the wallet service did not respond") from None
        return run

    async def get_proof_run(self, run_id: str) -> Json:
        """A requested run of the proof."""
        path = f"/internal/proof-runs/{run_id}"
        try:
            run: Json = await call(self._upstream, "GET", path, missing=ProofRunNotFound, is_new=True)
        except service.RouteUnknown:
            raise _being_upgraded() from None
        return run


def _being_upgraded() -> UpstreamUnavailable:
    return UpstreamUnavailable("the wallet service is being upgraded")
