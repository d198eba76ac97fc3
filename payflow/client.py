"""The async client of PayFlow: one object for one user at one gateway, safe to share between tasks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from payflow import document as read
from payflow import event_stream, limits, submission
from payflow.account import SessionInfo, TotpSetup, read_recovery_codes
from payflow.address import parse_address
from payflow.api_key import ApiKey, CreatedApiKey
from payflow.authentication import ApiKeyAuthentication, Authentication
from payflow.errors import Misconfigured, UnexpectedResponse
from payflow.events import Event
from payflow.gateway import Gateway
from payflow.limits import Limits
from payflow.money import DEFAULT_CURRENCY, Currency
from payflow.operator import Operator
from payflow.request import given, period, segment, timestamp
from payflow.session import MemorySessionStore, SessionStore, User
from payflow.transfer import Timeline, Transfer
from payflow.transport import Transport
from payflow.wallet import Balance, Entry, Wallet


class PayFlow:
    """A client of one gateway; `operator` has the calls of operators.

    Reads are retried when that may help, and so are `send` and `operator.deposit`, always with the same idempotency key.
    Every error is one of `payflow.errors`. Amounts are integers in the currency's minor unit.
    """

    def __init__(
        self,
        gateway: str,
        *,
        email: str | None = None,
        password: str | None = None,
        session_store: SessionStore | None = None,
        api_key: str | None = None,
        limits: Limits = limits.DEFAULT,
    ) -> None:
        """With `email` and `password` the client logs in when needed; else call `login`, or pass a `session_store`.

        A server passes an `api_key` instead; calls that need a session then raise `Problem`.

        Raises:
            Misconfigured: `gateway` is not an address, only one of `email` and `password` is given, or `api_key` is given
                together with other credentials, or is not a valid key (for instance empty).
        """
        if api_key is not None and (email is not None or password is not None or session_store is not None):
            raise Misconfigured("give an API key or a session, not both")
        if (email is None) != (password is None):
            raise Misconfigured("give both the e-mail address and the password, or neither")
        self.gateway = parse_address(gateway)
        self._transport = Transport(self.gateway, limits)
        if api_key is not None:
            self._authentication: Authentication = ApiKeyAuthentication(self._transport, api_key)
        else:
            credentials = (email, password) if email is not None and password is not None else None
            store = MemorySessionStore() if session_store is None else session_store
            self._authentication = Authentication(self._transport, store, credentials)
        self._gateway = Gateway(self._transport, self._authentication, limits)
        self.operator = Operator(self._gateway)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; the session at the gateway stays open."""
        await self._transport.close()

    # Session

    @property
    def user(self) -> User | None:
        """The user of the session, as of the last login or refresh."""
        return self._authentication.user

    async def login(self, email: str, password: str, *, totp: str | None = None) -> User:
        """Log in. The session is refreshed automatically. `totp` is a code of the second factor, or a recovery code.

        Raises:
            Problem: `invalid_credentials`, `totp_required`, `user_disabled`, or throttled (see its `retry_after_seconds`).
        """
        return await self._authentication.login(email, password, totp=totp)

    async def register(self, email: str, password: str, name: str) -> User:
        """Register a user and log in.

        Raises:
            Problem: `email_taken`, or a field is not valid.
        """
        return await self._authentication.register(email, password, name)

    async def logout(self) -> None:
        """End the session, here and at the gateway.

        Raises:
            NotLoggedIn: there is no session.
        """
        await self._authentication.logout()

    def sessions(self) -> AsyncIterator[SessionInfo]:
        """The user's sessions, newest first, requested page by page."""
        return self._gateway.pages("/auth/sessions", SessionInfo.read, {})

    async def end_session(self, session_id: str) -> None:
        """End one of the user's sessions, everywhere within a second.

        Raises:
            Problem: `session_not_found`, also for another user's session and for one that has ended.
        """
        await self._gateway.send_once("DELETE", f"/auth/sessions/{segment(session_id)}")

    async def end_other_sessions(self) -> None:
        """End all other sessions of the user and all API keys, everywhere within a second."""
        await self._gateway.send("DELETE", "/auth/sessions", read.nothing)

    # E-mail address and password

    async def verify_email(self, token: str) -> None:
        """Confirm an e-mail address with the token from the e-mail. Needs no session.

        Raises:
            Problem: `email_token_invalid`.
        """
        await self._transport.send("POST", "/auth/email/verify", body={"token": token})

    async def send_verification(self) -> None:
        """Send another verification e-mail to the user's address.

        Raises:
            Problem: `email_already_verified`, or throttled.
        """
        await self._gateway.send_once("POST", "/auth/email/verification")

    async def forgot_password(self, email: str) -> None:
        """Send an e-mail to reset a forgotten password; does not reveal whether the address is registered.

        Raises:
            Problem: throttled.
        """
        await self._transport.send("POST", "/auth/password/forgot", body={"email": email})

    async def reset_password(self, token: str, new_password: str) -> None:
        """Replace a forgotten password with the token from the e-mail. Every session and API key of the user ends.

        Raises:
            Problem: `email_token_invalid`, or the password is not valid.
        """
        body = {"token": token, "new_password": new_password}
        await self._transport.send("POST", "/auth/password/reset", body=body)

    async def change_password(self, current_password: str, new_password: str, *, totp: str | None = None) -> User:
        """Change the password. Every other session and every API key ends; this client continues in a new session.

        Raises:
            Problem: `invalid_credentials`, `totp_required`, a password that is too short, or throttled.
            NoResponse: the password may have been changed; log in with either one to find out.
        """
        return await self._authentication.change_password(current_password, new_password, totp=totp)

    # API keys and second factor

    async def create_api_key(
        self,
        name: str,
        scopes: Iterable[str],
        *,
        password: str,
        totp: str | None = None,
        expires_at: datetime | None = None,
    ) -> CreatedApiKey:
        """Create an API key with the scopes `read`, `transfer` or, for operators, `operate`. The key is returned only here.

        `password` is the user's password again; `totp` a code of the second factor if it is enabled, or a recovery code.

        Raises:
            Problem: `invalid_credentials`, `totp_required`, throttled, `operator_required`, `api_key_limit_reached`,
                `session_required` (an API key cannot create keys), or a field is not valid.
            NoResponse: the key may have been created; revoke it, as it cannot be read again.
        """
        proof = {"password": password, "totp": totp}
        body = {"name": name, "scopes": list(scopes), "expires_at": timestamp(expires_at)} | proof
        response = await self._gateway.send_once("POST", "/api-keys", body=given(body))
        return read.convert(CreatedApiKey.read, response.document)

    async def api_keys(self) -> list[ApiKey]:
        """The user's keys that were not revoked, newest first."""
        documents = await self._gateway.send("GET", "/api-keys", read.items)
        return [read.convert(ApiKey.read, document) for document in documents]

    async def revoke_api_key(self, key_id: str) -> None:
        """Revoke a key, everywhere within a second.

        Raises:
            Problem: `api_key_not_found`, also for another user's key and for a revoked one.
        """
        await self._gateway.send_once("DELETE", f"/api-keys/{segment(key_id)}")

    async def start_totp(self, password: str) -> TotpSetup:
        """Start the setup of a second factor; `confirm_totp` enables it.

        Raises:
            Problem: `invalid_credentials`, `totp_already_enabled`.
        """
        return await self._gateway.send("POST", "/auth/totp", TotpSetup.read, body={"password": password})

    async def confirm_totp(self, code: str) -> list[str]:
        """Enable the second factor with its first code; returns the recovery codes, which are shown only now.

        Raises:
            Problem: `invalid_credentials` when the code is wrong, `totp_not_started`, `totp_already_enabled`.
        """
        response = await self._gateway.send_once("POST", "/auth/totp/confirm", body={"code": code})
        return read.convert(read_recovery_codes, response.document)

    async def remove_totp(self, password: str, totp: str) -> None:
        """Disable the second factor.

        Raises:
            Problem: `invalid_credentials`, `totp_not_enabled`.
        """
        await self._gateway.send_once("DELETE", "/auth/totp", body={"password": password, "totp": totp})

    async def renew_recovery_codes(self, password: str, totp: str) -> list[str]:
        """Replace the recovery codes; the previous ones are no longer valid.

        Raises:
            Problem: `invalid_credentials`, `totp_not_enabled`.
        """
        body = {"password": password, "totp": totp}
        response = await self._gateway.send_once("POST", "/auth/totp/recovery-codes", body=body)
        return read.convert(read_recovery_codes, response.document)

    # Transfers

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
        """Send money exactly once and wait up to `wait_seconds` for the outcome; the transfer may still be PENDING then.

        Without a key (None) one is generated, and every retry carries the same one. A payment that must survive the end of
        this program needs a key that the caller generated (`new_key()`) and stored beforehand.

        Raises:
            InvalidArgument: the key is not 1 to 255 visible ASCII characters, or `wait_seconds` is negative; nothing was sent.
            Problem: refused, for instance `insufficient_funds` or `recipient_not_found`; nothing was accepted.
            OutcomeUnknown: it is not known whether the transfer was accepted; carries the key.
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
        return await submission.submit(
            self._gateway, "/transfers", body, key=idempotency_key, wait_seconds=wait_seconds
        )

    async def wait(self, transfer: Transfer, *, wait_seconds: float = limits.WAIT_SECONDS_DEFAULT) -> Transfer:
        """Wait for the outcome of a transfer; after `wait_seconds` the transfer as it was last read.

        An error while polling is ignored: the transfer is accepted, whether or not it can be read now.
        """
        return await submission.wait(self._gateway, transfer, deadline=time.monotonic() + wait_seconds)

    async def cancel(self, transfer_id: str) -> Transfer:
        """Cancel a transfer that is still PENDING; repeating it returns the same result.

        Raises:
            Problem: `transfer_not_cancellable`, `transfer_not_found`.
        """
        return await self._gateway.send("POST", f"/transfers/{segment(transfer_id)}/cancel", Transfer.read)

    async def transfer(self, transfer_id: str) -> Transfer:
        """One transfer of the user.

        Raises:
            Problem: `transfer_not_found`, also for another user's transfer.
        """
        return await self._gateway.send("GET", f"/transfers/{segment(transfer_id)}", Transfer.read)

    async def find_by_key(self, idempotency_key: str) -> Transfer | None:
        """The user's transfer with this idempotency key, or None if none has arrived (yet).

        Raises:
            InvalidArgument: no transfer can have such a key.
        """
        return await submission.find_by_key(self._gateway, idempotency_key)

    def transfers(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        wallet_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncIterator[Transfer]:
        """The user's transfers created from `since` on (inclusive), before `until` (exclusive): newest first, page by page."""
        params = {"status": status, "kind": kind, "wallet_id": wallet_id, **period(since, until)}
        return self._gateway.pages("/transfers", Transfer.read, params)

    async def timeline(self, transfer_id: str) -> Timeline:
        """The steps of one of the user's transfers, and what it waits for.

        Raises:
            Problem: `transfer_not_found`, also for another user's transfer.
        """
        return await self._gateway.send("GET", f"/transfers/{segment(transfer_id)}/timeline", Timeline.read)

    # Wallets

    async def wallets(self) -> list[Wallet]:
        """The user's wallets, one for each currency."""
        return [wallet async for wallet in self._gateway.pages("/wallets", Wallet.read, {})]

    async def open_wallet(self, currency: str) -> Wallet:
        """The user's wallet in a currency; opened if it does not exist."""
        return await self._gateway.send("POST", "/wallets", Wallet.read, body={"currency": currency})

    async def balance(self, wallet_id: str | None = None, *, at: datetime | None = None) -> Balance:
        """The balance of a wallet (default: the one in US dollars), now or at a past instant."""
        wallet_id = await self._default_wallet_id() if wallet_id is None else wallet_id
        path = f"/wallets/{segment(wallet_id)}/balance"
        return await self._gateway.send("GET", path, Balance.read, params=given({"at": timestamp(at)}))

    async def statement(
        self, wallet_id: str | None = None, *, since: datetime | None = None, until: datetime | None = None
    ) -> AsyncIterator[Entry]:
        """The entries of a wallet (default: the one in US dollars), newest first, page by page.

        They are those from `since` on (inclusive), before `until` (exclusive).
        """
        wallet_id = await self._default_wallet_id() if wallet_id is None else wallet_id
        path = f"/wallets/{segment(wallet_id)}/statement"
        async for entry in self._gateway.pages(path, Entry.read, period(since, until)):
            yield entry

    async def currencies(self) -> dict[str, Currency]:
        """All currencies by code, with the number of decimal digits of each."""
        documents = await self._gateway.send("GET", "/currencies", read.items)
        listed = [read.convert(Currency.read, document) for document in documents]
        return {currency.code: currency for currency in listed}

    # Events

    def events(self, *, last_event_id: int | None = None) -> AsyncIterator[Event]:
        """Follow the user's events live, without end: from now on, or everything after an event.

        A broken connection is reopened, however long that takes, and continues at the same position: no event is missing or
        repeated, unless an event of type `reset` says that the interruption was too long.

        Raises:
            NotLoggedIn, SessionEnded, ApiKeyRefused
            Problem: a refusal that a retry does not help.
        """
        return event_stream.follow(self._gateway, last_event_id)

    # Simulated failures

    @contextlib.contextmanager
    def simulate(self, failure: str) -> Iterator[None]:
        """Let a gateway in demo mode fail the next request of this task on purpose, for instance `response-lost`.

        Only the first request inside of the block has the header `PayFlow-Simulate`; retries do not. Outside of demo mode
        the gateway refuses a payment with it.
        """
        with self._gateway.simulation.of(failure):
            yield

    async def _default_wallet_id(self) -> str:
        for wallet in await self.wallets():
            if wallet.currency == DEFAULT_CURRENCY:
                return wallet.id
        raise UnexpectedResponse(f"this user has no wallet in {DEFAULT_CURRENCY}")
