"""The auth service: users, sessions, API keys and signing keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from services.chassis.client import Upstream
from services.contracts.refusals.auth import ApiKeyNotFound
from services.gateway.clients import service
from services.gateway.clients.service import Json, ServiceClient, call
from services.gateway.errors import InvalidToken


class RevocationPage(NamedTuple):
    """A page of revoked sessions and API keys, the number to continue after, and auth's Unix time."""

    ids: list[str]
    next_after: int
    now: float


class AuthClient(ServiceClient):
    """The auth service.

    Requests that hash a password use connections of their own, so that a burst of logins delays nothing else.
    """

    def __init__(self, upstream: Upstream, *, passwords: Upstream) -> None:
        super().__init__(upstream)
        self._passwords = passwords

    async def close(self) -> None:
        """Close all connections."""
        await super().close()
        await self._passwords.close()

    # --- Passwords and codes; each request is sent once where it spends something ----------------------------------------

    async def register(self, *, email: str, password: str, name: str, user_agent: str | None, address: str) -> Json:
        """Register a user and open a session."""
        body = {"email": email, "password": password, "name": name, "user_agent": user_agent, "address": address}
        return await self._send_secret("POST", "/internal/register", body, once=True)

    async def log_in(
        self, *, email: str, password: str, totp: str | None, user_agent: str | None, address: str
    ) -> Json:
        """Open a session. A code of the second factor is spent by its first use."""
        body = {"email": email, "password": password, "totp": totp, "user_agent": user_agent, "address": address}
        return await self._send_secret("POST", "/internal/login", body, once=totp is not None)

    async def change_password(
        self, *, user_id: str, current_password: str, new_password: str, totp: str | None, user_agent: str | None
    ) -> Json:
        """Change the password, which ends every session, and open a new one."""
        body = {
            "user_id": user_id,
            "current_password": current_password,
            "new_password": new_password,
            "totp": totp,
            "user_agent": user_agent,
        }
        return await self._send_secret("POST", "/internal/password", body, once=True)

    async def reset_password(self, *, token: str, new_password: str) -> list[str]:
        """Replace a forgotten password; the ids of the sessions that ended."""
        body = {"token": token, "new_password": new_password}
        ended: list[str] = (await self._send_secret("POST", "/internal/password/reset", body, once=True))["ended"]
        return ended

    async def start_totp(self, *, user_id: str, password: str) -> Json:
        """Propose a second factor: its secret."""
        return await self._send_secret("POST", "/internal/totp", {"user_id": user_id, "password": password})

    async def confirm_totp(self, *, user_id: str, code: str) -> Json:
        """Enable the second factor; the recovery codes."""
        return await self._send_secret("POST", "/internal/totp/confirm", {"user_id": user_id, "code": code}, once=True)

    async def remove_totp(self, *, user_id: str, password: str, totp: str) -> None:
        """Disable the second factor."""
        body = {"user_id": user_id, "password": password, "totp": totp}
        await self._send_secret("DELETE", "/internal/totp", body, once=True)

    async def renew_recovery_codes(self, *, user_id: str, password: str, totp: str) -> Json:
        """Replace the recovery codes."""
        body = {"user_id": user_id, "password": password, "totp": totp}
        return await self._send_secret("POST", "/internal/totp/recovery-codes", body, once=True)

    async def create_api_key(
        self,
        *,
        user_id: str,
        session_id: str,
        password: str,
        totp: str | None,
        name: str,
        scopes: Sequence[str],
        expires_at: str | None,
    ) -> Json:
        """Create an API key.

        Raises:
            InvalidToken: the session ended while the request was on its way.
        """
        body = {
            "user_id": user_id,
            "session_id": session_id,
            "password": password,
            "totp": totp,
            "name": name,
            "scopes": list(scopes),
            "expires_at": expires_at,
        }
        path = "/internal/api-keys"
        key: Json = await call(self._passwords, "POST", path, body=body, once=True, missing=InvalidToken)
        return key

    async def _send_secret(self, method: str, path: str, body: Mapping[str, Any], *, once: bool = False) -> Json:
        result: Json = await call(self._passwords, method, path, body=body, once=once)
        return result

    # --- Sessions --------------------------------------------------------------------------------------------------------

    async def is_known_location(self, *, email: str, address: str) -> bool:
        """Whether this account logged in from this address before."""
        body = {"email": email, "address": address}
        result = await call(
            self._upstream, "POST", "/internal/known-locations", body=body, seconds=service.SIDE_SECONDS
        )
        return isinstance(result, dict) and result.get("known") is True

    async def refresh(self, refresh_token: str) -> Json:
        """Exchange a refresh token for a new pair of tokens."""
        body = {"refresh_token": refresh_token}
        session: Json = await call(self._upstream, "POST", "/internal/refresh", body=body, once=True)
        return session

    async def log_out(self, *, session_id: str, user_id: str) -> None:
        """End the session of an access token."""
        body = {"session_id": session_id, "user_id": user_id}
        await call(self._upstream, "POST", "/internal/logout", body=body)

    async def list_sessions(self, user_id: str, page: Mapping[str, str]) -> Json:
        """A page of a user's active sessions; `page` is `limit` and perhaps `cursor`."""
        found: Json = await call(self._upstream, "GET", f"/internal/users/{user_id}/sessions", params=page)
        return found

    async def end_session(self, *, user_id: str, session_id: str) -> None:
        """End one session of a user."""
        body = {"user_id": user_id, "session_id": session_id}
        await call(self._upstream, "POST", "/internal/sessions/end", body=body)

    async def end_other_sessions(self, *, user_id: str, session_id: str) -> None:
        """End all sessions of a user except this one, and all API keys.

        Raises:
            InvalidToken: this session has just ended.
        """
        body = {"user_id": user_id, "session_id": session_id}
        await call(self._upstream, "POST", "/internal/sessions/end-others", body=body, missing=InvalidToken)

    async def list_revocations(self, *, after: int, seconds: float) -> RevocationPage:
        """The sessions and API keys revoked after this number of the feed."""
        params = {"after": str(after)}
        page = await self._upstream.call("GET", "/internal/revocations", params=params, seconds=seconds)
        return RevocationPage([item["session_id"] for item in page["items"]], page["next"], float(page["now"]))

    # --- Users -----------------------------------------------------------------------------------------------------------

    async def get_user(self, user_id: str) -> Json:
        """A user's own profile."""
        user: Json = await call(self._upstream, "GET", f"/internal/users/{user_id}")
        return user

    async def find_account(self, email: str) -> Json:
        """The account with this e-mail address, as operators see it."""
        account: Json = await call(self._upstream, "POST", "/internal/users/find", body={"email": email})
        return account

    async def set_role(self, user_id: str, *, role: str, operator_id: str) -> Json:
        """Change a user's role."""
        body = {"role": role, "operator_id": operator_id}
        account: Json = await call(self._upstream, "PUT", f"/internal/users/{user_id}/role", body=body)
        return account

    async def disable_user(self, user_id: str, *, reason: str, operator_id: str) -> Json:
        """Disable a user and end all sessions."""
        body = {"reason": reason, "operator_id": operator_id}
        account: Json = await call(self._upstream, "PUT", f"/internal/users/{user_id}/disable", body=body)
        return account

    async def enable_user(self, user_id: str, *, operator_id: str) -> Json:
        """Enable a user again."""
        body = {"operator_id": operator_id}
        account: Json = await call(self._upstream, "DELETE", f"/internal/users/{user_id}/disable", body=body)
        return account

    async def find_recipients(self, emails: Sequence[str]) -> list[Json]:
        """Id and name of the users with these e-mail addresses; unknown addresses are left out."""
        body = {"emails": list(emails)}
        found: list[Json] = (await call(self._upstream, "POST", "/internal/recipients", body=body))["items"]
        return found

    async def find_names(self, user_ids: Collection[str], *, seconds: float) -> dict[str, str]:
        """Names by user id; unknown ids are left out."""
        body = {"ids": sorted(set(user_ids))}
        found = await self._upstream.call("POST", "/internal/names", body=body, seconds=seconds)
        return {item["user_id"]: item["name"] for item in found["items"]}

    # --- E-mails ---------------------------------------------------------------------------------------------------------

    async def verify_email(self, token: str) -> None:
        """Confirm an e-mail address with the token of an email, which is spent by this."""
        await call(self._upstream, "POST", "/internal/email/verify", body={"token": token}, once=True)

    async def request_verification(self, user_id: str) -> None:
        """Send another verification email."""
        await call(self._upstream, "POST", "/internal/email/verification", body={"user_id": user_id})

    async def request_password_reset(self, email: str) -> None:
        """Send an email to reset a password, if the address is registered."""
        await call(self._upstream, "POST", "/internal/password/forgot", body={"email": email})

    # --- Keys ------------------------------------------------------------------------------------------------------------

    async def list_api_keys(self, user_id: str) -> Json:
        """A user's API keys that are not revoked."""
        keys: Json = await call(self._upstream, "GET", "/internal/api-keys", params={"user_id": user_id})
        return keys

    async def revoke_api_key(self, key_id: str, *, user_id: str) -> None:
        """Revoke an API key of a user."""
        path, params = f"/internal/api-keys/{key_id}", {"user_id": user_id}
        await call(self._upstream, "DELETE", path, params=params, missing=ApiKeyNotFound)

    async def verify_api_key(self, key_hash: bytes, *, seconds: float) -> Json:
        """The user, role and scopes of an API key, by its hash."""
        body = {"hash": key_hash.hex()}
        verified: Json = await self._upstream.call("POST", "/internal/api-keys/verify", body=body, seconds=seconds)
        return verified

    async def get_jwks(self, *, seconds: float) -> Any:
        """The public keys of access tokens (RFC 7517)."""
        return await self._upstream.call("GET", "/internal/jwks", seconds=seconds)

    async def list_signing_keys(self) -> Json:
        """The signing keys and their states, as operators see them."""
        keys: Json = await call(self._upstream, "GET", "/internal/keys")
        return keys

    async def rotate_signing_keys(self, operator_id: str) -> Json:
        """Publish a new signing key."""
        body = {"operator_id": operator_id}
        rotation: Json = await call(self._upstream, "POST", "/internal/keys/rotate", body=body, once=True)
        return rotation
