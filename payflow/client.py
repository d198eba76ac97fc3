"""The async client of PayFlow: one object for one user at one gateway, safe to share between tasks."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from payflow import document as read
from payflow import limits
from payflow.account import Account, SessionInfo, SigningKeys, TotpProposal, read_recovery_codes
from payflow.address import parse_address
from payflow.api_key import ApiKey, CreatedApiKey
from payflow.authentication import ApiKeyAuthentication, Authentication, bearer
from payflow.errors import (
    InvalidArgument,
    Misconfigured,
    NoAnswer,
    PayFlowError,
    Problem,
    UnexpectedAnswer,
    Unreachable,
)
from payflow.events import TOKEN_SPENT, Event
from payflow.limits import Limits
from payflow.money import DEFAULT_CURRENCY, Currency
from payflow.operations import BalanceSheet, Overview, Proof
from payflow.retry import Patience, reconnect_seconds
from payflow.session import Keeper, MemoryKeeper, User
from payflow.simulation import Simulation
from payflow.submission import Submission, check_key, new_key
from payflow.transfer import Timeline, Transfer
from payflow.transport import Answer, Transport
from payflow.wallet import Balance, Entry, Wallet

T = TypeVar("T")


class PayFlow:
    """A client of one gateway.

    Reads are repeated when that may help; so are `send` and `deposit`, always with the same idempotency key. Everything
    that goes wrong is one of `payflow.errors`. Amounts are integers in the currency's minor unit.
    """

    def __init__(
        self,
        gateway: str,
        *,
        email: str | None = None,
        password: str | None = None,
        keeper: Keeper | None = None,
        api_key: str | None = None,
        limits: Limits = limits.PATIENT,
    ) -> None:
        """With `email` and `password` it logs in by itself; else call `login`, or give a `keeper` that holds a session.

        A server takes an `api_key` instead; what needs a session is refused then.

        Raises:
            Misconfigured: `gateway` is not an address, only one of `email` and `password` is given, or `api_key` is given
                together with other credentials, or is not a valid key (for instance empty).
        """
        if api_key is not None and (email is not None or password is not None or keeper is not None):
            raise Misconfigured("give an API key or a session, not both")
        if (email is None) != (password is None):
            raise Misconfigured("give both the e-mail address and the password, or neither")
        self.gateway = parse_address(gateway)
        self._limits = limits
        self._transport = Transport(self.gateway, limits)
        self._simulation = Simulation()
        if api_key is not None:
            self._authentication: Authentication = ApiKeyAuthentication(self._transport, api_key)
        else:
            credentials = (email, password) if email is not None and password is not None else None
            self._authentication = Authentication(
                self._transport, MemoryKeeper() if keeper is None else keeper, credentials
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; the session at the gateway goes on."""
        await self._transport.close()

    # Who

    @property
    def user(self) -> User | None:
        """Who is logged in, as of the last login or renewal."""
        return self._authentication.user

    async def login(self, email: str, password: str, *, totp: str | None = None) -> User:
        """Begin a session. It is renewed by itself from then on. `totp` is a code of the second factor, or a recovery code.

        Raises:
            Problem: `invalid_credentials`, `totp_required`, `user_disabled`, or throttled (see its `retry_after_seconds`).
        """
        return await self._authentication.login(email, password, totp=totp)

    async def register(self, email: str, password: str, name: str) -> User:
        """Make a user and begin a session.

        Raises:
            Problem: `email_taken`, or a field is not good.
        """
        return await self._authentication.register(email, password, name)

    async def logout(self) -> None:
        """End the session, here and at the gateway.

        Raises:
            NotLoggedIn: there is none.
        """
        await self._authentication.logout()

    async def verify_email(self, token: str) -> None:
        """Verify an e-mail address by the token of the letter that was sent there. Needs no session.

        Raises:
            Problem: `email_token_invalid`.
        """
        await self._transport.send("POST", "/auth/email/verify", body={"token": token})

    async def send_verification(self) -> None:
        """Have another letter sent to this user's address.

        Raises:
            Problem: `email_already_verified`, or throttled.
        """
        await self._call("POST", "/auth/email/verification")

    async def forgot_password(self, email: str) -> None:
        """Have a letter sent by which a forgotten password is replaced; does not tell whether anybody is known there.

        Raises:
            Problem: throttled.
        """
        await self._transport.send("POST", "/auth/password/forgot", body={"email": email})

    async def reset_password(self, token: str, new_password: str) -> None:
        """Replace a forgotten password by the token of the letter. Every session and API key of the user ends.

        Raises:
            Problem: `email_token_invalid`, or the password is not good.
        """
        body = {"token": token, "new_password": new_password}
        await self._transport.send("POST", "/auth/password/reset", body=body)

    async def change_password(self, current_password: str, new_password: str, *, totp: str | None = None) -> User:
        """Choose another password. Every other session of the user and every API key ends; this client goes on in a new session.

        Raises:
            Problem: `invalid_credentials`, `totp_required`, a password that is too short, or throttled.
            NoAnswer: it may have been changed; log in with either password to find out.
        """
        return await self._authentication.change_password(current_password, new_password, totp=totp)

    def sessions(self) -> AsyncIterator[SessionInfo]:
        """Where this user is logged in, newest first, page by page."""
        return self._pages("/auth/sessions", SessionInfo.read, {})

    async def end_session(self, session_id: str) -> None:
        """End one of this user's sessions, everywhere within a second.

        Raises:
            Problem: `session_not_found`, also for another's and for one that has ended.
        """
        await self._call("DELETE", f"/auth/sessions/{_segment(session_id)}")

    async def end_other_sessions(self) -> None:
        """End all of this user's sessions but this one, and all API keys, everywhere within a second."""
        await self._ask("DELETE", "/auth/sessions", _nothing)

    async def create_api_key(
        self,
        name: str,
        scopes: Iterable[str],
        *,
        password: str,
        totp: str | None = None,
        expires_at: datetime | None = None,
    ) -> CreatedApiKey:
        """Make a key for a server of this user's, good for `read`, `transfer` or, for operators, `operate`. Told this once.

        `password` is this user's, once more; `totp` a code of the second factor where one is on, or a recovery code.

        Raises:
            Problem: `invalid_credentials`, `totp_required`, throttled, `operator_required`, `api_key_limit_reached`,
                `session_required` (a key makes none), or a field is not good.
            NoAnswer: it may have been made; whoever does not know it revokes it.
        """
        proof = {"password": password, "totp": totp}
        body = {"name": name, "scopes": list(scopes), "expires_at": _time(expires_at)} | proof
        answer = await self._call("POST", "/api-keys", body=_given(body))
        return read.convert(CreatedApiKey.read, answer.document)

    async def api_keys(self) -> list[ApiKey]:
        """This user's keys that were not revoked, newest first."""
        documents = await self._ask("GET", "/api-keys", _items)
        return [read.convert(ApiKey.read, document) for document in documents]

    async def revoke_api_key(self, key_id: str) -> None:
        """End a key, everywhere within a second.

        Raises:
            Problem: `api_key_not_found`, also for another's and for one that was revoked.
        """
        await self._call("DELETE", f"/api-keys/{_segment(key_id)}")

    async def start_totp(self, password: str) -> TotpProposal:
        """Propose a second factor; it is on when `confirm_totp` was given its first code.

        Raises:
            Problem: `invalid_credentials`, `totp_already_enabled`.
        """
        return await self._ask("POST", "/auth/totp", TotpProposal.read, body={"password": password})

    async def confirm_totp(self, code: str) -> list[str]:
        """Turn the second factor on; the recovery codes, which are told only now.

        Raises:
            Problem: `invalid_credentials` when the code is wrong, `totp_not_started`, `totp_already_enabled`.
        """
        answer = await self._call("POST", "/auth/totp/confirm", body={"code": code})
        return read.convert(read_recovery_codes, answer.document)

    async def remove_totp(self, password: str, totp: str) -> None:
        """Turn the second factor off.

        Raises:
            Problem: `invalid_credentials`, `totp_not_enabled`.
        """
        await self._call("DELETE", "/auth/totp", body={"password": password, "totp": totp})

    async def renew_recovery_codes(self, password: str, totp: str) -> list[str]:
        """Other recovery codes; those before open nothing any more.

        Raises:
            Problem: `invalid_credentials`, `totp_not_enabled`.
        """
        answer = await self._call("POST", "/auth/totp/recovery-codes", body={"password": password, "totp": totp})
        return read.convert(read_recovery_codes, answer.document)

    # Money

    async def send(
        self,
        *,
        amount: int,
        currency: str,
        to_email: str | None = None,
        to_wallet_id: str | None = None,
        from_wallet_id: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        wait_seconds: float = limits.WAIT_SECONDS_DEFAULT,
    ) -> Transfer:
        """Send money, once, and wait up to `wait_seconds` for the outcome; it may still be PENDING then.

        Without a key (None) one is made here. It stays the same however often the request has to be repeated. A payment
        that must survive the end of this program needs a key made (`new_key()`) and stored by the caller beforehand.

        Raises:
            InvalidArgument: the key is not 1 to 255 visible ASCII characters, or `wait_seconds` is negative; nothing was sent.
            Problem: refused, for instance `insufficient_funds` or `recipient_not_found`; nothing was accepted.
            OutcomeUnknown: whether it was accepted could not be found out; carries the key.
        """
        if (to_email is None) == (to_wallet_id is None):
            raise TypeError("send() takes either to_email or to_wallet_id")
        body = {
            "amount": amount,
            "currency": currency,
            "to": {"email": to_email} if to_email is not None else {"wallet_id": to_wallet_id},
            "from_wallet_id": from_wallet_id,
            "description": description,
            "metadata": metadata,
        }
        return await self._submit("/transfers", body, key=idempotency_key, wait_seconds=wait_seconds)

    async def deposit(
        self,
        *,
        wallet_id: str,
        amount: int,
        currency: str,
        reference: str,
        idempotency_key: str | None = None,
        wait_seconds: float = limits.WAIT_SECONDS_DEFAULT,
    ) -> Transfer:
        """As an operator: bring money into a wallet from the outside world. Repeated and waited for like `send`.

        Raises:
            InvalidArgument: as `send`; nothing was sent.
            Problem: refused, for instance `operator_required`; nothing was accepted.
            OutcomeUnknown: whether it was accepted could not be found out; carries the key.
        """
        body = {"wallet_id": wallet_id, "amount": amount, "currency": currency, "reference": reference}
        return await self._submit("/ops/deposits", body, key=idempotency_key, wait_seconds=wait_seconds)

    async def wait(self, transfer: Transfer, *, wait_seconds: float = limits.WAIT_SECONDS_DEFAULT) -> Transfer:
        """The transfer with its outcome, or as it was last seen when that takes longer.

        Trouble while looking is no trouble of the transfer: it is accepted, and never turned into an error here.
        """
        return await self._watch(transfer, deadline=time.monotonic() + wait_seconds)

    async def cancel(self, transfer_id: str) -> Transfer:
        """Cancel a transfer that is still PENDING; again is the same.

        Raises:
            Problem: `transfer_not_cancellable`, `transfer_not_found`.
        """
        return await self._ask("POST", f"/transfers/{_segment(transfer_id)}/cancel", Transfer.read)

    async def transfer(self, transfer_id: str) -> Transfer:
        """One transfer of this user's.

        Raises:
            Problem: `transfer_not_found`, for an unknown one and for another's alike.
        """
        return await self._ask("GET", f"/transfers/{_segment(transfer_id)}", Transfer.read)

    async def find_by_key(self, idempotency_key: str) -> Transfer | None:
        """The transfer that this user's send with this key made, or None when none arrived (yet).

        Raises:
            InvalidArgument: no transfer can have such a key.
        """
        params = {"idempotency_key": check_key(idempotency_key), "limit": "1"}
        found = await self._ask("GET", "/transfers", _items, params=params)
        if not found:
            return None
        return read.convert(functools.partial(Transfer.read, idempotency_key=idempotency_key), found[0])

    def transfers(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        wallet_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncIterator[Transfer]:
        """This user's transfers, newest first, page by page: created from `since` on (inclusive), before `until` (exclusive)."""
        params = {"status": status, "kind": kind, "wallet_id": wallet_id, **_period(since, until)}
        return self._pages("/transfers", Transfer.read, params)

    async def timeline(self, transfer_id: str, *, as_operator: bool = False) -> Timeline:
        """How a transfer went, hop by hop, and what it waits for: one's own, or as an operator anybody's."""
        scope = "/ops" if as_operator else ""
        return await self._ask("GET", f"{scope}/transfers/{_segment(transfer_id)}/timeline", Timeline.read)

    # Wallets

    async def wallets(self) -> list[Wallet]:
        """This user's wallets, one for each currency."""
        return [wallet async for wallet in self._pages("/wallets", Wallet.read, {})]

    async def open_wallet(self, currency: str) -> Wallet:
        """This user's wallet in a currency, opened if it was not there."""
        return await self._ask("POST", "/wallets", Wallet.read, body={"currency": currency})

    async def balance(self, wallet_id: str | None = None, *, at: datetime | None = None) -> Balance:
        """What is in a wallet (default: the one in US dollars), now or at a past instant."""
        wallet_id = await self._default_wallet_id() if wallet_id is None else wallet_id
        return await self._ask(
            "GET", f"/wallets/{_segment(wallet_id)}/balance", Balance.read, params=_given({"at": _time(at)})
        )

    async def statement(
        self, wallet_id: str | None = None, *, since: datetime | None = None, until: datetime | None = None
    ) -> AsyncIterator[Entry]:
        """The entries of a wallet (default: the one in US dollars), newest first, page by page.

        They are those from `since` on (inclusive), before `until` (exclusive).
        """
        wallet_id = await self._default_wallet_id() if wallet_id is None else wallet_id
        params = _period(since, until)
        async for entry in self._pages(f"/wallets/{_segment(wallet_id)}/statement", Entry.read, params):
            yield entry

    async def currencies(self) -> dict[str, Currency]:
        """All currencies by their code: how many decimal digits each has."""
        documents = await self._ask("GET", "/currencies", _items)
        listed = [read.convert(Currency.read, document) for document in documents]
        return {currency.code: currency for currency in listed}

    # What happens

    async def events(self, *, last_event_id: int | None = None) -> AsyncIterator[Event]:
        """What happens to this user's transfers, live and for ever: from now on, or everything after an event.

        A connection that breaks is made again, however long that takes, and goes on where it was: nothing is missing and
        nothing comes twice, unless an event of type `reset` says that it has been too long.

        Raises:
            NotLoggedIn, SessionEnded, ApiKeyRefused
            Problem: refused for good.
        """
        place, failures = last_event_id, 0
        token: str | None = None
        spent: str | None = None
        while True:
            pause_error: PayFlowError | None = None
            try:
                token = await self._token(spent=spent)
                headers = bearer(token) | ({} if place is None else {"Last-Event-ID": str(place)})
                async with self._transport.stream("/events", headers=headers) as blocks:
                    async for block in blocks:
                        place = place if block.id is None else block.id
                        failures = 0
                        if block.type in TOKEN_SPENT:
                            spent = token
                        elif (event := block.event) is not None:
                            yield event
            except Problem as problem:
                if problem.is_unauthorized and token is not None and spent == token:
                    raise self._authentication.refused() from problem
                if not problem.is_unauthorized and not problem.retry_helps:
                    raise
                spent = token if problem.is_unauthorized else spent
                pause_error = problem
            except (Unreachable, NoAnswer) as error:
                pause_error = error
            await asyncio.sleep(reconnect_seconds(self._limits, failures, pause_error))
            failures += 1

    # Operations

    async def overview(self) -> Overview:
        """As an operator: the queues and everything that waits, at a glance."""
        return await self._ask("GET", "/ops/overview", Overview.read)

    async def proof(self, *, full: bool = False, head: str | None = None) -> Proof:
        """As an operator: the last round of checks over the ledger, or with `full` a new one over every entry.

        `head` is a sealed block noted earlier, NUMBER:HASH; a new round must find it.
        """
        if not full and head is None:
            return await self._ask("GET", "/ops/ledger/proof", Proof.read)
        params = _given({"full": "1", "head": head})
        seconds = self._limits.proof_seconds
        return await self._ask("GET", "/ops/ledger/proof", Proof.read, params=params, seconds=seconds)

    async def balance_sheet(self) -> BalanceSheet:
        """As an operator: what customers have and what the outside world gave, by currency."""
        return await self._ask("GET", "/ops/ledger/balance-sheet", BalanceSheet.read)

    async def find_user(self, email: str) -> Account:
        """As an operator: the user with this address.

        Raises:
            Problem: `user_not_found`.
        """
        return await self._ask("GET", "/ops/users", Account.read, params={"email": email})

    async def set_role(self, user_id: str, role: str) -> Account:
        """As an operator: give a user a role, `user` or `operator`. Who loses one is logged out everywhere.

        Raises:
            Problem: `user_not_found`; `cannot_modify_self` when it is the operator's own.
        """
        return await self._ask("PUT", f"/ops/users/{_segment(user_id)}/role", Account.read, body={"role": role})

    async def disable_user(self, user_id: str, reason: str) -> Account:
        """As an operator: disable a user. No login, all sessions end, and the user is no longer found by e-mail.

        Payments to the user's wallet id still arrive; an operator stops them with `PUT /api/v1/ops/wallets/{id}/freeze`.

        Raises:
            Problem: `user_not_found`, `cannot_modify_self`.
        """
        path = f"/ops/users/{_segment(user_id)}/disable"
        return await self._ask("PUT", path, Account.read, body={"reason": reason})

    async def enable_user(self, user_id: str) -> Account:
        """As an operator: let a user in again.

        Raises:
            Problem: `user_not_found`.
        """
        return await self._ask("DELETE", f"/ops/users/{_segment(user_id)}/disable", Account.read)

    async def signing_keys(self) -> SigningKeys:
        """As an operator: the keys that sign access tokens."""
        return await self._ask("GET", "/ops/keys", SigningKeys.read)

    async def rotate_signing_keys(self) -> SigningKeys:
        """As an operator: make a new key, which signs a little later. Nobody is logged out; asked twice, it happens once."""
        return await self._ask("POST", "/ops/keys/rotate", SigningKeys.read)

    # Simulations

    @contextlib.contextmanager
    def simulate(self, word: str) -> Iterator[None]:
        """Let a gateway in demo mode make the next request of this task go wrong on purpose, for instance `answer-lost`.

        Only the first request inside of the block carries the word; whatever is sent again goes without it. A gateway out
        of demo mode refuses a payment that carries one.
        """
        with self._simulation.of(word):
            yield

    # What waits for an operator, and who did what

    async def dead_letters(self, *, queue: str | None = None, state: str = "waiting") -> dict[str, Any]:
        """As an operator: `items`, all dead letters in that state (or `any`), newest first; `unavailable`, who did not answer."""
        return await self._whole_list("/ops/dead-letters", _given({"queue": queue, "state": state}))

    async def dead_letter(self, letter_id: str) -> dict[str, Any]:
        """As an operator: one dead letter with its body."""
        return await self._ask("GET", f"/ops/dead-letters/{_segment(letter_id)}", _document)

    async def replay_dead_letter(self, letter_id: str, *, dry_run: bool = False) -> dict[str, Any]:
        """As an operator: put it into its queue once more, or only learn what that would do. Twice does no harm."""
        params = {"dry_run": "true" if dry_run else "false"}
        return await self._ask("POST", f"/ops/dead-letters/{_segment(letter_id)}/replay", _document, params=params)

    async def discard_dead_letter(self, letter_id: str, reason: str) -> dict[str, Any]:
        """As an operator: let it wait no longer; no transfer is touched."""
        path = f"/ops/dead-letters/{_segment(letter_id)}/discard"
        return await self._ask("POST", path, _document, body={"reason": reason})

    async def audit(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        actor_id: str | None = None,
        user_id: str | None = None,
        action: str | None = None,
        limit: int | None = None,
    ) -> dict[str, Any]:
        """As an operator: `items`, who did what, newest first, `limit` of them at most; `unavailable`, who did not answer.

        `has_more` is whether `limit` cut the list.

        They are those from `since` on (inclusive), before `until` (exclusive).
        """
        params = _given({**_period(since, until), "actor_id": actor_id, "user_id": user_id, "action": action})
        return await self._whole_list("/ops/audit", params, count_max=limit)

    # How

    async def _whole_list(
        self, path: str, params: Mapping[str, str], *, count_max: int | None = None
    ) -> dict[str, Any]:
        items: list[Any] = []
        unavailable: set[str] = set()
        cursor: str | None = None
        while True:
            size = limits.PAGE_SIZE_MAX if count_max is None else min(limits.PAGE_SIZE_MAX, count_max - len(items))
            page = await self._ask(
                "GET", path, _document, params=_given({**params, "limit": str(size), "cursor": cursor})
            )
            more, next_cursor = read.convert(_page, page)
            items += more
            unavailable |= set(page.get("unavailable", ()))
            if next_cursor is None or len(items) == count_max:
                return {"items": items, "unavailable": sorted(unavailable), "has_more": next_cursor is not None}
            if next_cursor == cursor:
                raise UnexpectedAnswer("the gateway's pages have no end")
            cursor = next_cursor

    async def _submit(self, path: str, body: Mapping[str, Any], *, key: str | None, wait_seconds: float) -> Transfer:
        key = new_key() if key is None else check_key(key)
        submission = Submission(path, _given(body), key=key, wait_seconds=wait_seconds, limits=self._limits)
        transfer = await submission.accept(self._call, self.find_by_key)
        return await self._watch(transfer, deadline=submission.deadline)

    async def _watch(self, transfer: Transfer, *, deadline: float) -> Transfer:
        pause_seconds = self._limits.poll_seconds_min
        while not transfer.is_finalized and (left_seconds := deadline - time.monotonic()) > 0:
            await asyncio.sleep(min(pause_seconds, left_seconds))
            pause_seconds = min(2 * pause_seconds, self._limits.poll_seconds_max)
            transfer = await self._look(transfer, deadline=deadline)
        return transfer

    async def _look(self, transfer: Transfer, *, deadline: float) -> Transfer:
        seconds = min(max(deadline - time.monotonic(), self._limits.poll_seconds_min), self._limits.answer_seconds)
        reader = functools.partial(Transfer.read, idempotency_key=transfer.idempotency_key, replayed=transfer.replayed)
        try:
            answer = await self._call("GET", f"/transfers/{_segment(transfer.id)}", seconds=seconds)
            return read.convert(reader, answer.document)
        except PayFlowError:
            return transfer

    async def _ask(
        self,
        method: str,
        path: str,
        reader: Callable[[Any], T],
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> T:
        """Send a request that may be repeated without harm, until it is answered."""
        patience = Patience(self._limits)
        while True:
            try:
                answer = await self._call(method, path, body=body, params=params, seconds=seconds)
            except PayFlowError as error:
                await patience.pause(error)
            else:
                return read.convert(reader, answer.document)

    async def _pages(self, path: str, reader: Callable[[Any], T], params: Mapping[str, str | None]) -> AsyncIterator[T]:
        cursor: str | None = None
        while True:
            page_params = _given({**params, "limit": str(limits.PAGE_SIZE_MAX), "cursor": cursor})
            items, next_cursor = await self._ask("GET", path, _page, params=page_params)
            for item in items:
                yield read.convert(reader, item)
            if next_cursor is None:
                return
            if next_cursor == cursor:
                raise UnexpectedAnswer("the gateway's pages have no end")
            cursor = next_cursor

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> Answer:
        """Send one request as the user; again, once, when the gateway does not take the token any more."""
        token = await self._token()
        send = functools.partial(self._transport.send, method, path, body=body, params=params, seconds=seconds)
        headers = {**(headers or {}), **self._simulation.take()}
        try:
            return await send(headers={**headers, **bearer(token)})
        except Problem as problem:
            if not problem.is_token_refused:
                raise
        token = await self._token(spent=token)
        try:
            return await send(headers={**headers, **bearer(token)})
        except Problem as problem:
            if not problem.is_token_refused:
                raise
            raise self._authentication.refused() from problem

    async def _token(self, spent: str | None = None) -> str:
        try:
            return await (self._authentication.token() if spent is None else self._authentication.renew(spent))
        except PayFlowError as error:
            # Whatever became of the session, the request that needs it was not sent.
            error.maybe_done = False
            raise

    async def _default_wallet_id(self) -> str:
        for wallet in await self.wallets():
            if wallet.currency == DEFAULT_CURRENCY:
                return wallet.id
        raise UnexpectedAnswer(f"this user has no wallet in {DEFAULT_CURRENCY}")


def _segment(text: str) -> str:
    # An empty segment or dots would make the address that of another resource, for instance of the whole list.
    if text in ("", ".", ".."):
        raise InvalidArgument(f"{text!r} is not an id")
    return quote(text, safe="")


def _time(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _period(since: datetime | None, until: datetime | None) -> dict[str, str | None]:
    return {"from": _time(since), "to": _time(until)}


def _given(fields: Mapping[str, T | None]) -> dict[str, T]:
    return {name: value for name, value in fields.items() if value is not None}


def _items(document: Any) -> list[Any]:
    return list(document["items"])


def _nothing(_document: Any) -> None:
    return None


def _document(document: Any) -> dict[str, Any]:
    return dict(document)


def _page(document: Any) -> tuple[list[Any], str | None]:
    return list(document["items"]), document["next_cursor"]
