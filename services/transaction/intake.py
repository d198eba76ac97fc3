"""Accept transfers: a batch of requests becomes PENDING transfers, each request with its own result.

The order makes retries safe. Keys are looked up first, and a used key gets the result of its first request, whatever has
happened since. Only new keys meet the checks of wallets and funds. Before such a refusal is returned, the key is looked up
again: a concurrent duplicate may have been accepted meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from services.chassis import halving
from services.chassis.database import CommitUnknown, DatabaseUnavailable, Pool
from services.chassis.problems import Fault
from services.contracts.identifiers import new_id
from services.contracts.refusal import Refusal, Unavailable
from services.contracts.refusals.transaction import (
    CurrencyMismatch,
    SameWallet,
    UnknownRecipient,
    UnknownWallet,
)
from services.contracts.transfer_kinds import KINDS, Source
from services.transaction import commands, metrics, simulation
from services.transaction.auth_client import AuthClient
from services.transaction.commands import Accepted, Lost
from services.transaction.directory import ById, ByOwner, Directory, ExternalAccount, WalletKey
from services.transaction.expectation import expected_by
from services.transaction.funds_check import FundsCheck
from services.transaction.simulation import Simulation
from services.transaction.store import Draft, Keys, WalletFacts
from services.transaction.transfer import PENDING, Transfer, request_hash
from services.transaction.wallet_client import WalletClient


class Request(NamedTuple):
    """One request to move money, as the gateway sends it. Amount in minor units."""

    user_id: UUID
    idempotency_key: str
    key_hash: bytes
    kind: str
    amount: int
    currency: str
    to_email: str | None
    to_wallet_id: UUID | None
    from_wallet_id: UUID | None
    description: str | None
    metadata: dict[str, Any] | None
    request_id: str
    traceparent: str | None
    simulation: Simulation = simulation.NONE

    @property
    def key(self) -> tuple[UUID, str]:
        """The user and their idempotency key; a new pair makes a new transfer."""
        return self.user_id, self.idempotency_key


Result = Accepted | Refusal

log = structlog.get_logger()


class Intake:
    """Accepts batches of requests."""

    def __init__(
        self,
        pool: Pool,
        *,
        wallet: WalletClient,
        auth: AuthClient,
        reversal_after: timedelta,
        expect_seconds: Callable[[], float | None] = lambda: None,
    ) -> None:
        """`reversal_after`: how long after acceptance a transfer without an outcome expires; the reversal then voids it.

        `expect_seconds`: how long a new transfer probably takes; None if unknown.
        """
        self._pool = pool
        self._auth = auth
        self._directory = Directory(pool, wallet)
        self._funds = FundsCheck(pool, wallet)
        self._reversal_after = reversal_after
        self._expect_seconds = expect_seconds

    async def accept(self, requests: Sequence[Request], *, refuse_new: Refusal | None = None) -> list[Result]:
        """Accept a batch; the result of each request, in order. New keys get `refuse_new` while there is too much work ahead.

        A batch that fails as a whole is halved until the bad request is alone.

        Raises:
            CommitUnknown: all or nothing may be recorded; send the same keys again to find out.
            DatabaseUnavailable: nothing was recorded.
        """

        async def accept(part: Sequence[Request]) -> Sequence[Result]:
            try:
                return await self._accept(part, refuse_new)
            except DatabaseUnavailable:
                if len(part) == len(requests):
                    raise
                # The database became unavailable in this part; what is recorded of the others is known. Of this part the whole
                # batch may have been recorded before it failed.
                return [CommitUnknown() for _ in part]

        return await halving.run(requests, accept, on_failure=_fail, raises=(Refusal,))

    async def _accept(self, requests: Sequence[Request], refuse_new: Refusal | None) -> list[Result]:
        keys = await commands.find_keys(self._pool, [request.key for request in requests])
        results = await self._resolve_used_keys(requests, keys)
        new = [index for index in range(len(requests)) if index not in results]
        if refuse_new is not None:
            results |= dict.fromkeys(new, refuse_new)
        elif new:
            accepted = await self._accept_new([requests[index] for index in new], keys)
            results |= dict(zip(new, accepted, strict=True))
        metrics.count_results(map(_label, results.values()))
        return [results[index] for index in range(len(requests))]

    async def _resolve_used_keys(self, requests: Sequence[Request], keys: Keys) -> dict[int, Result]:
        """The result of each request whose key is used, by its index; the only place that decides what a used key means."""
        if not keys.used:
            return {}
        replays = await commands.find_replays(self._pool, list(keys.used))
        return {
            index: replays.response_to(request.key, request.key_hash)
            for index, request in enumerate(requests)
            if request.key in replays.used
        }

    async def _accept_new(self, requests: Sequence[Request], keys: Keys) -> list[Result]:
        drafts = await self._draft(requests, keys.now)
        valid = [draft for draft in drafts if isinstance(draft, Draft)]
        refused = await self._funds.check(valid, keys.hinted)
        recorded = await self._record([draft for draft in valid if draft.transfer.id not in refused])
        results = [
            draft if isinstance(draft, Refusal) else refused.get(draft.transfer.id) or recorded[draft.transfer.id]
            for draft in drafts
        ]
        return await self._look_up_again(requests, results)

    async def _record(self, drafts: Sequence[Draft]) -> dict[UUID, Accepted | Lost | Refusal]:
        if not drafts:
            return {}
        results = await commands.accept_transfers(self._pool, drafts)
        for draft, result in zip(drafts, results, strict=True):
            if isinstance(result, Accepted):
                self._funds.spend(draft.transfer)
        return {draft.transfer.id: result for draft, result in zip(drafts, results, strict=True)}

    async def _look_up_again(
        self, requests: Sequence[Request], results: Sequence[Accepted | Lost | Refusal]
    ) -> list[Result]:
        """Resolve lost keys; and a refusal stands only if the key is still new: a duplicate may have been accepted meanwhile."""
        again = [index for index, result in enumerate(results) if not isinstance(result, Accepted)]
        resolved: dict[int, Result] = {}
        if again:
            repeated = [requests[index] for index in again]
            try:
                keys = await commands.find_keys(self._pool, [request.key for request in repeated])
                resolved = await self._resolve_used_keys(repeated, keys)
            except DatabaseUnavailable as unavailable:
                # Of these only: the others are recorded. A lost key is used, so it stays unknown.
                resolved = {
                    position: unavailable
                    for position, index in enumerate(again)
                    if not isinstance(results[index], Lost)
                }
        by_index = {again[position]: result for position, result in resolved.items()}
        return [
            by_index.get(index) or (CommitUnknown() if isinstance(result, Lost) else result)
            for index, result in enumerate(results)
        ]

    async def _draft(self, requests: Sequence[Request], now: datetime) -> list[Draft | Refusal]:
        """A draft of each request with its two wallets, or why it is refused."""
        recipients = await self._find_recipients(requests)
        pairs = [_wallet_keys(request, recipients) for request in requests]
        keys: set[WalletKey] = {key for pair in pairs if not isinstance(pair, Refusal) for key in pair}
        found = await self._directory.find(keys)
        return [
            pair if isinstance(pair, Refusal) else self._draft_one(request, found.get(pair[0]), found.get(pair[1]), now)
            for request, pair in zip(requests, pairs, strict=True)
        ]

    async def _find_recipients(self, requests: Sequence[Request]) -> Mapping[str, UUID] | Refusal:
        emails = sorted({request.to_email for request in requests if request.to_email is not None})
        if not emails:
            return {}
        try:
            return await self._auth.find_recipients(emails)
        except Refusal:
            return Unavailable("recipients cannot be looked up by e-mail at the moment")

    def _draft_one(
        self,
        request: Request,
        source: WalletFacts | Refusal | None,
        destination: WalletFacts | Refusal | None,
        now: datetime,
    ) -> Draft | Refusal:
        if (refusal := _refusal(request, source, destination)) is not None:
            return refusal
        assert isinstance(source, WalletFacts), "an unknown source was refused above"
        assert isinstance(destination, WalletFacts), "an unknown destination was refused above"
        expires_at = now + request.simulation.lifetime(self._reversal_after)
        transfer = Transfer(
            id=new_id(),
            user_id=request.user_id,
            recipient_id=destination.owner_id,
            kind=request.kind,
            status=PENDING,
            amount=request.amount,
            currency=request.currency,
            from_wallet_id=source.id,
            to_wallet_id=destination.id,
            description=request.description,
            metadata=request.metadata,
            request_hash=request_hash(source.id, destination.id, request.amount, request.currency),
            created_at=now,
            expires_at=expires_at,
            completed_at=None,
            failed_at=None,
            failure_code=None,
            expected_by=expected_by(now, expires_at, self._expect_seconds()),
        )
        return Draft(
            transfer,
            request.idempotency_key,
            request.key_hash,
            request.request_id,
            request.traceparent,
            request.simulation,
        )


def _fail(request: Request, error: Exception) -> Result:
    log.error("transfer_not_accepted", request_id=request.request_id, exc_info=error)
    return Fault()


def _wallet_keys(request: Request, recipients: Mapping[str, UUID] | Refusal) -> tuple[WalletKey, WalletKey] | Refusal:
    """How to find the source and the destination. `recipients`: user by address, or why they cannot be looked up."""
    source: WalletKey
    if KINDS[request.kind].source is Source.EXTERNAL_ACCOUNT:
        source = ExternalAccount(request.currency)
    elif request.from_wallet_id is not None:
        source = ById(request.from_wallet_id)
    else:
        source = ByOwner(request.user_id, request.currency)
    if request.to_wallet_id is not None:
        return source, ById(request.to_wallet_id)
    if isinstance(recipients, Refusal):
        return recipients
    recipient = recipients.get((request.to_email or "").strip().casefold())
    if recipient is None:
        return UnknownRecipient("to.email", "no user has this e-mail address")
    return source, ByOwner(recipient, request.currency)


def _refusal(
    request: Request, source: WalletFacts | Refusal | None, destination: WalletFacts | Refusal | None
) -> Refusal | None:
    """The first refusal that needs no balance, in order of precedence."""
    for wallet in (source, destination):
        if isinstance(wallet, Refusal):
            return wallet
    if not isinstance(source, WalletFacts) or _is_foreign(request, source):
        return UnknownWallet("from_wallet_id" if request.from_wallet_id else "currency", "you have no such wallet")
    if not isinstance(destination, WalletFacts) or destination.owner_id is None:
        return UnknownWallet("to", "the recipient has no such wallet")
    for field, wallet in (("from_wallet_id", source), ("to", destination)):
        if wallet.currency != request.currency:
            return CurrencyMismatch("currency", f"the wallet in `{field}` is in {wallet.currency}")
    if source.id == destination.id:
        return SameWallet("to", "is the same wallet as the source")
    return None


def _is_foreign(request: Request, source: WalletFacts) -> bool:
    return KINDS[request.kind].requires_owner and source.owner_id != request.user_id


def _label(result: Result) -> str:
    if isinstance(result, Refusal):
        return result.code
    return "replayed" if result.replayed else "accepted"
