"""Accepting: from a list of requests to PENDING transfers, each request with its own answer.

The order is what makes retries safe. Keys are looked up first, and a used key is answered with what it was used for, whatever
has happened since. Only a new key meets the checks of wallets and funds; before any refusal by those the key is looked up
once more, for a twin may have been accepted meanwhile.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from services.chassis.database import DatabaseUnavailable, Pool
from services.chassis.problems import Fault
from services.contracts.identifiers import new_id
from services.contracts.refusal import Refusal, Unavailable
from services.contracts.refusals.transaction import (
    CurrencyMismatch,
    InsufficientFunds,
    SameWallet,
    UnknownRecipient,
    UnknownWallet,
    WalletFrozen,
)
from services.transaction import affordability, commands, metrics, simulation
from services.transaction.affordability import KnownBalances
from services.transaction.auth_client import AuthClient
from services.transaction.commands import Accepted, Draft
from services.transaction.directory import ById, ByOwner, Directory, OfTheWorld, Wanted
from services.transaction.simulation import Simulation
from services.transaction.store import Keys, WalletFacts
from services.transaction.transfer import DEPOSIT, PENDING, Transfer, request_hash
from services.transaction.wallet_client import WalletClient


class Request(NamedTuple):
    """One request to move money, as the gateway hands it over. Amount in minor units."""

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
        """What must be new for this to be a new transfer."""
        return self.user_id, self.idempotency_key


Answer = Accepted | Refusal

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
    ) -> None:
        """A transfer that has no outcome `reversal_after` its acceptance is failed by the reversal."""
        self._pool = pool
        self._wallet = wallet
        self._auth = auth
        self._directory = Directory(pool, wallet)
        self._balances = KnownBalances()
        self._reversal_after = reversal_after

    async def accept(self, requests: Sequence[Request], *, refuse_new: Refusal | None = None) -> list[Answer]:
        """Answer each request, in order. `refuse_new` is what new keys are told while there is too much work ahead.

        A batch that fails as a whole is halved until the bad request stands alone.

        Raises:
            CommitUnknown: all or nothing may be recorded; send the same keys again to find out.
            DatabaseUnavailable: nothing was recorded.
        """
        try:
            return await self._accept(requests, refuse_new)
        except Refusal:
            raise
        except Exception:
            if len(requests) == 1:
                log.exception("transfer_not_accepted", request_id=requests[0].request_id)
                return [Fault()]
            middle = len(requests) // 2
            return [
                *await self._accept_half(requests[:middle], refuse_new),
                *await self._accept_half(requests[middle:], refuse_new),
            ]

    async def _accept_half(self, requests: Sequence[Request], refuse_new: Refusal | None) -> list[Answer]:
        """The database may become unavailable in one half; what is recorded of the other half is known."""
        try:
            return await self.accept(requests, refuse_new=refuse_new)
        except DatabaseUnavailable as away:
            return [away] * len(requests)

    async def _accept(self, requests: Sequence[Request], refuse_new: Refusal | None) -> list[Answer]:
        keys = await commands.find_keys(self._pool, [request.key for request in requests])
        answers = await self._replays(requests, keys)
        new = [index for index in range(len(requests)) if index not in answers]
        if refuse_new is not None:
            answers |= dict.fromkeys(new, refuse_new)
        elif new:
            fresh = await self._accept_new([requests[index] for index in new], keys)
            answers |= dict(zip(new, fresh, strict=True))
        for answer in answers.values():
            metrics.INTAKE.labels(_result(answer)).inc()
        return [answers[index] for index in range(len(requests))]

    async def _replays(self, requests: Sequence[Request], keys: Keys) -> dict[int, Answer]:
        if not keys.used:
            return {}
        replays = await commands.find_replays(self._pool, list(keys.used))
        return {
            index: replays.response_to(request.key, request.key_hash)
            for index, request in enumerate(requests)
            if request.key in replays.used
        }

    async def _accept_new(self, requests: Sequence[Request], keys: Keys) -> list[Answer]:
        drafts = await self._draft(requests, keys)
        good = [draft for draft in drafts if isinstance(draft, Draft)]
        refused = await self._refuse_unaffordable(good)
        recorded = await self._record([draft for draft in good if draft.transfer.id not in refused])
        answers: list[Answer] = [
            draft if isinstance(draft, Refusal) else refused.get(draft.transfer.id) or recorded[draft.transfer.id]
            for draft in drafts
        ]
        return await self._look_once_more(requests, answers)

    async def _record(self, drafts: Sequence[Draft]) -> dict[UUID, Answer]:
        if not drafts:
            return {}
        answers = await commands.accept_transfers(self._pool, drafts)
        for draft, answer in zip(drafts, answers, strict=True):
            if isinstance(answer, Accepted) and not answer.replayed:
                self._balances.spend(draft.transfer.from_wallet_id, draft.transfer.amount)
        return {draft.transfer.id: answer for draft, answer in zip(drafts, answers, strict=True)}

    async def _look_once_more(self, requests: Sequence[Request], answers: list[Answer]) -> list[Answer]:
        """A refusal by state is only told if the key is still new: its twin may have got in meanwhile."""
        refused = [index for index, answer in enumerate(answers) if isinstance(answer, Refusal)]
        if not refused:
            return answers
        try:
            keys = await commands.find_keys(self._pool, [requests[index].key for index in refused])
            replays = await self._replays([requests[index] for index in refused], keys)
        except DatabaseUnavailable as away:
            # Only of these: the others are recorded.
            replays = dict.fromkeys(range(len(refused)), away)
        for position, answer in replays.items():
            answers[refused[position]] = answer
        return answers

    async def _draft(self, requests: Sequence[Request], keys: Keys) -> list[Draft | Refusal]:
        """A draft of each request, its wallets found; or why it cannot be one."""
        people = await self._find_people(requests)
        sides = [_sides(request, people) for request in requests]
        wanted: set[Wanted] = {one for side in sides if not isinstance(side, Refusal) for one in side}
        found = await self._directory.find(wanted)
        return [
            side
            if isinstance(side, Refusal)
            else self._draft_one(request, found.get(side[0]), found.get(side[1]), keys)
            for request, side in zip(requests, sides, strict=True)
        ]

    async def _find_people(self, requests: Sequence[Request]) -> Mapping[str, UUID] | Refusal:
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
        keys: Keys,
    ) -> Draft | Refusal:
        refusal = _refusal(request, source, destination)
        if refusal is not None:
            return refusal
        assert isinstance(source, WalletFacts), "an unknown source was refused above"
        assert isinstance(destination, WalletFacts), "an unknown destination was refused above"
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
            created_at=keys.now,
            expires_at=keys.now + request.simulation.lifetime(self._reversal_after),
            completed_at=None,
            failed_at=None,
            failure_code=None,
        )
        return Draft(
            transfer,
            request.idempotency_key,
            request.key_hash,
            request.request_id,
            request.traceparent,
            request.simulation,
        )

    async def _refuse_unaffordable(self, drafts: Sequence[Draft]) -> dict[UUID, Refusal]:
        """Refusals by transfer id. The wallet is asked only about what is not known to be fine; late or away: no check."""
        suspects = await self._suspects([draft for draft in drafts if not draft.simulation.unchecked])
        if not suspects:
            return {}
        owners = {d.transfer.from_wallet_id: d.transfer.user_id for d in suspects if d.transfer.kind != DEPOSIT}
        asked = owners.keys() | {draft.transfer.to_wallet_id for draft in suspects}
        asked |= {draft.transfer.from_wallet_id for draft in suspects}
        under_way, _ = await commands.read_under_way(self._pool, owners, list(asked))
        try:
            states = await self._wallet.availability({wallet: list(under_way.get(wallet, ())) for wallet in asked})
        except Refusal:
            return {}
        for wallet_id in owners.keys() & states.keys():
            state = states[wallet_id]
            spendable = affordability.spendable(state.available, under_way[wallet_id], state.decided)
            self._balances.learn(wallet_id, spendable)
        frozen = {wallet_id for wallet_id, state in states.items() if state.frozen}
        return self._judge(suspects, frozen, states.keys())

    def _judge(self, suspects: Sequence[Draft], frozen: set[UUID], answered: Container[UUID]) -> dict[UUID, Refusal]:
        refused: dict[UUID, Refusal] = {}
        for draft in suspects:
            transfer = draft.transfer
            if transfer.from_wallet_id in frozen:
                refused[transfer.id] = WalletFrozen("from_wallet_id", "is frozen")
            elif transfer.to_wallet_id in frozen:
                refused[transfer.id] = WalletFrozen("to", "is frozen")
            elif self._is_unaffordable(transfer, answered):
                refused[transfer.id] = InsufficientFunds("amount", "is more than the wallet holds")
        return refused

    def _is_unaffordable(self, transfer: Transfer, answered: Container[UUID]) -> bool:
        known = transfer.kind != DEPOSIT and transfer.from_wallet_id in answered
        return known and not self._balances.covers(transfer.from_wallet_id, transfer.amount)

    async def _suspects(self, drafts: Sequence[Draft]) -> list[Draft]:
        """Those that are not known to be affordable, or that touch a wallet which was frozen at some time."""
        if not drafts:
            return []
        wallets = {id_ for draft in drafts for id_ in (draft.transfer.from_wallet_id, draft.transfer.to_wallet_id)}
        hinted = await commands.list_freeze_hints(self._pool, list(wallets))
        return [
            draft
            for draft in drafts
            if hinted & {draft.transfer.from_wallet_id, draft.transfer.to_wallet_id}
            or (
                draft.transfer.kind != DEPOSIT
                and not self._balances.covers(draft.transfer.from_wallet_id, draft.transfer.amount)
            )
        ]


def _sides(request: Request, people: Mapping[str, UUID] | Refusal) -> tuple[Wanted, Wanted] | Refusal:
    """Which two wallets this is about."""
    source: Wanted
    if request.kind == DEPOSIT:
        source = OfTheWorld(request.currency)
    elif request.from_wallet_id is not None:
        source = ById(request.from_wallet_id)
    else:
        source = ByOwner(request.user_id, request.currency)
    if request.to_wallet_id is not None:
        return source, ById(request.to_wallet_id)
    if isinstance(people, Refusal):
        return people
    recipient = people.get((request.to_email or "").strip().casefold())
    if recipient is None:
        return UnknownRecipient("to.email", "nobody here has this address")
    return source, ByOwner(recipient, request.currency)


def _refusal(
    request: Request, source: WalletFacts | Refusal | None, destination: WalletFacts | Refusal | None
) -> Refusal | None:
    """The ladder of refusals that need no balance, in order of precedence."""
    for side in (source, destination):
        if isinstance(side, Refusal):
            return side
    if not isinstance(source, WalletFacts) or _is_foreign(request, source):
        return UnknownWallet("from_wallet_id" if request.from_wallet_id else "currency", "you have no such wallet")
    if not isinstance(destination, WalletFacts) or destination.owner_id is None:
        return UnknownWallet("to", "the recipient has no such wallet")
    for field, side in (("from_wallet_id", source), ("to", destination)):
        if side.currency != request.currency:
            return CurrencyMismatch("currency", f"the wallet in `{field}` is in {side.currency}")
    if source.id == destination.id:
        return SameWallet("to", "is the wallet the money comes from")
    return None


def _is_foreign(request: Request, source: WalletFacts) -> bool:
    return request.kind != DEPOSIT and source.owner_id != request.user_id


def _result(answer: Answer) -> str:
    if isinstance(answer, Refusal):
        return answer.code
    return "replayed" if answer.replayed else "accepted"
