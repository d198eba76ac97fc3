"""Schemas of requests, and functions that render responses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, TypeAdapter

from services.auth import passwords, rules, tokens
from services.auth.commands.emails import OutgoingEmail
from services.auth.commands.totp import Proposal
from services.auth.keyring import StoredKey, public_jwk
from services.auth.rules.user import Role, User
from services.auth.store.api_keys import ListedApiKey, UsedApiKey
from services.auth.store.sessions import LiveSession
from services.auth.store.signing_keys import KeyFacts
from services.auth.store.users import Account
from services.auth.tokens import Pair
from services.chassis.body import Id
from services.chassis.period import Moment
from services.contracts import limits
from services.contracts.api_keys import Scope
from services.contracts.messages import format_time

LIST_MAX = 1000
"""Users that one request can look up."""

EMAILS_MAX = 200
"""E-mails that one request can claim."""

RETRY_SECONDS_MAX = 24 * 3600.0

NEWEST = UUID(int=2**128 - 1)
"""Above every id: the start of a list that is newest first."""

HASH_BYTES = 32
KEY_REMEMBERED_SECONDS = float(limits.ACCESS_TOKEN_SECONDS)
"""How long a gateway can cache a verified API key: as long as an access token is valid."""


def _email(text: str) -> str:
    email = rules.user.normalise_email(text)
    if email is None:
        raise ValueError("is not an e-mail address")
    return email


def _password(value: Any) -> Any:
    return passwords.canonical(value) if isinstance(value, str) else value


def _name(text: str) -> str:
    if not rules.user.is_printable(text):
        raise ValueError("contains a character that is not allowed")
    return text


def _role(value: Any) -> Role:
    if value not in (Role.USER.value, Role.OPERATOR.value):
        raise ValueError("must be user or operator")
    return Role(value)


def _scopes(values: Any) -> list[Scope]:
    if not isinstance(values, list) or not values or any(value not in list(Scope) for value in values):
        raise ValueError(f"must be a non-empty list of {', '.join(Scope)}")
    if len(set(values)) != len(values):
        raise ValueError("contains a scope twice")
    return [Scope(value) for value in values]


def _hash(value: Any) -> bytes:
    try:
        found = bytes.fromhex(value)
    except (ValueError, TypeError):
        found = b""
    if len(found) != HASH_BYTES:
        raise ValueError("is not a SHA-256 in hexadecimal digits")
    return found


Email = Annotated[str, AfterValidator(_email)]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=limits.NAME_LENGTH_MAX),
    AfterValidator(_name),
]
Password = Annotated[
    str, Field(min_length=limits.PASSWORD_LENGTH_MIN, max_length=limits.PASSWORD_LENGTH_MAX), BeforeValidator(_password)
]
KnownPassword = Annotated[str, Field(min_length=1, max_length=limits.PASSWORD_LENGTH_MAX), BeforeValidator(_password)]
"""A password to verify, not to set: a short one is wrong rather than invalid."""

Code = Annotated[str, Field(min_length=1, max_length=limits.TOTP_CODE_LENGTH_MAX)]
UserAgent = Annotated[str, Field(min_length=1, max_length=limits.USER_AGENT_LENGTH_MAX), AfterValidator(_name)]
Token = Annotated[str, Field(min_length=1, max_length=limits.EMAIL_TOKEN_LENGTH_MAX)]
Address = Annotated[str, StringConstraints(min_length=1, max_length=rules.known_locations.ADDRESS_LENGTH_MAX)]
"""A network address as spelled by the gateway, in one form for each."""


class _Body(BaseModel):
    # Errors must not contain the input, which may be a password.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class Register(_Body):
    """Register request."""

    email: Email
    password: Password
    name: Name
    user_agent: UserAgent | None = None
    address: Address | None = None


class Login(_Body):
    """Login request; `totp` is a code of the second factor or a recovery code."""

    email: Email
    password: KnownPassword
    totp: Code | None = None
    user_agent: UserAgent | None = None
    address: Address | None = None


class KnownLocation(_Body):
    """Look-up of a known location."""

    email: Email
    address: Address


class Refresh(_Body):
    """Refresh request."""

    refresh_token: Annotated[str, Field(min_length=1, max_length=tokens.REFRESH_LENGTH_MAX)]


class Logout(_Body):
    """Logout request."""

    session_id: Id
    user_id: Id


class EmailToken(_Body):
    """The token of a verification e-mail."""

    token: Token


class RequestVerification(_Body):
    """Request for another verification e-mail."""

    user_id: Id


class ForgotPassword(_Body):
    """Request for a password reset e-mail."""

    email: Email


class ResetPassword(_Body):
    """The token of a password reset e-mail, with a new password."""

    token: Token
    new_password: Password


class ClaimEmails(_Body):
    """Claim of e-mails to send."""

    limit: Annotated[int, Field(ge=1, le=EMAILS_MAX)]


class MarkEmail(_Body):
    """Outcome of an attempt to send an e-mail; `seconds` until the next attempt, `error` without personal data."""

    id: Id
    outcome: Literal["sent", "retried", "failed"]
    seconds: Annotated[float, Field(ge=0, le=RETRY_SECONDS_MAX)] = 0.0
    error: Annotated[str, Field(max_length=200)] = ""


class ChangePassword(_Body):
    """Change of a password."""

    user_id: Id
    current_password: KnownPassword
    new_password: Password
    totp: Code | None = None
    user_agent: UserAgent | None = None


class UserSession(_Body):
    """A session of a user: the one to end, or the one to keep."""

    user_id: Id
    session_id: Id


class StartTotp(_Body):
    """Start of the set-up of a second factor."""

    user_id: Id
    password: KnownPassword


class ConfirmTotp(_Body):
    """First code of an authenticator app, which enables the second factor."""

    user_id: Id
    code: Code


class ProveTotp(_Body):
    """Both factors of a user."""

    user_id: Id
    password: KnownPassword
    totp: Code


class FindAccount(_Body):
    """Look-up of an account by an operator. A malformed address is not found, rather than invalid."""

    email: Annotated[str, Field(max_length=limits.EMAIL_LENGTH_MAX)]


class SetRole(_Body):
    """Change of a role by an operator."""

    operator_id: Id
    role: Annotated[Role, BeforeValidator(_role)]


class DisableUser(_Body):
    """Disabling of a user by an operator."""

    operator_id: Id
    reason: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=limits.DISABLE_REASON_LENGTH_MAX),
        AfterValidator(_name),
    ]


class ByOperator(_Body):
    """The operator who performs an action."""

    operator_id: Id


class FindRecipients(_Body):
    """Addresses to look up. A malformed one is not found, rather than invalid, so that it does not affect the others."""

    emails: Annotated[list[str], Field(max_length=LIST_MAX)]


class Ids(_Body):
    """Ids to look up or to release."""

    ids: Annotated[list[Id], Field(max_length=LIST_MAX)]


class NewApiKey(_Body):
    """A new API key."""

    user_id: Id
    session_id: Id
    password: KnownPassword
    totp: Code | None = None
    name: Name
    scopes: Annotated[list[Scope], BeforeValidator(_scopes)]
    expires_at: Moment | None = None


class Owner(_Body):
    """The user whose API keys are meant."""

    user_id: Id


class SessionPage(_Body):
    """Which part of the list of sessions: below a cursor, newest first."""

    limit: Annotated[int, Field(ge=1, le=limits.PAGE_MAX, strict=False)] = limits.PAGE_DEFAULT
    cursor: Id = NEWEST


class FeedPosition(_Body):
    """Where to continue in the feed of revocations; 0 to start."""

    after: Annotated[int, Field(ge=0, le=limits.BIGINT_MAX, strict=False)] = 0


class KeyHash(_Body):
    """The hash of a presented API key."""

    hash: Annotated[bytes, BeforeValidator(_hash)]


NEW_API_KEY = TypeAdapter(NewApiKey)
OWNER = TypeAdapter(Owner)
KEY_HASH = TypeAdapter(KeyHash)
SESSION_PAGE = TypeAdapter(SessionPage)
FEED_POSITION = TypeAdapter(FeedPosition)
REGISTER = TypeAdapter(Register)
LOGIN = TypeAdapter(Login)
KNOWN_LOCATION = TypeAdapter(KnownLocation)
REFRESH = TypeAdapter(Refresh)
LOGOUT = TypeAdapter(Logout)
CHANGE_PASSWORD = TypeAdapter(ChangePassword)
USER_SESSION = TypeAdapter(UserSession)
START_TOTP = TypeAdapter(StartTotp)
CONFIRM_TOTP = TypeAdapter(ConfirmTotp)
PROVE_TOTP = TypeAdapter(ProveTotp)
FIND_ACCOUNT = TypeAdapter(FindAccount)
SET_ROLE = TypeAdapter(SetRole)
DISABLE_USER = TypeAdapter(DisableUser)
BY_OPERATOR = TypeAdapter(ByOperator)
FIND_RECIPIENTS = TypeAdapter(FindRecipients)
IDS = TypeAdapter(Ids)
EMAIL_TOKEN = TypeAdapter(EmailToken)
REQUEST_VERIFICATION = TypeAdapter(RequestVerification)
FORGOT_PASSWORD = TypeAdapter(ForgotPassword)
RESET_PASSWORD = TypeAdapter(ResetPassword)
CLAIM_EMAILS = TypeAdapter(ClaimEmails)
MARK_EMAIL = TypeAdapter(MarkEmail)


def render_user(user: User) -> dict[str, Any]:
    """A user as shown to that user."""
    return {
        "id": str(user.id),
        "email": user.email,
        "name": user.name,
        "role": user.role.value,
        "email_verified": user.email_verified,
        "totp": user.totp,
    }


def render_session(user: User, pair: Pair) -> dict[str, Any]:
    """The response to register, login and refresh."""
    return {
        "user": render_user(user),
        "access_token": pair.access_token,
        "refresh_token": pair.refresh_token,
        "token_type": "Bearer",
        "expires_in": limits.ACCESS_TOKEN_SECONDS,
    }


def render_account(account: Account) -> dict[str, Any]:
    """A user as shown to operators."""
    disabled = (
        {"at": format_time(account.disabled_at), "reason": account.disabled_reason} if account.disabled_at else None
    )
    return render_user(account.user) | {"created_at": format_time(account.created_at), "disabled": disabled}


def render_sessions(found: Sequence[LiveSession], *, limit: int) -> dict[str, Any]:
    """A page of the sessions of a user; `found` has one more than `limit` if there is another page."""
    shown = found[:limit]
    items = [
        {
            "id": str(each.id),
            "created_at": format_time(each.created_at),
            "used_at": format_time(each.used_at),
            "user_agent": each.user_agent,
        }
        for each in shown
    ]
    return {"items": items, "next_cursor": str(shown[-1].id) if len(found) > limit else None}


def render_proposal(proposal: Proposal) -> dict[str, Any]:
    """The secret for an authenticator app."""
    return {"secret": proposal.secret, "uri": proposal.uri}


def render_recovery_codes(codes: Sequence[str]) -> dict[str, Any]:
    """Recovery codes, which are shown only once."""
    return {"recovery_codes": list(codes)}


def render_key_facts(found: Iterable[KeyFacts]) -> dict[str, Any]:
    """Signing keys as shown to operators, without key material."""
    items = [
        {
            "kid": each.kid,
            "state": each.state,
            "created_at": format_time(each.created_at),
            "signs_from": format_time(each.signs_from),
            "retires_at": format_time(each.retires_at) if each.retires_at else None,
            "retired_at": format_time(each.retired_at) if each.retired_at else None,
        }
        for each in found
    ]
    return {"items": items, "next_cursor": None}


def render_recipients(found: Mapping[str, User]) -> dict[str, Any]:
    """Users by address, as spelled in the request."""
    items = [{"email": email, "user_id": str(user.id), "name": user.name} for email, user in found.items()]
    return {"items": items}


def render_names(users: Iterable[User]) -> dict[str, Any]:
    """Names of users."""
    return {"items": [{"user_id": str(user.id), "name": user.name} for user in users]}


def render_contacts(users: Iterable[User]) -> dict[str, Any]:
    """Names and addresses of users."""
    return {"items": [{"user_id": str(user.id), "email": user.email, "name": user.name} for user in users]}


def render_keys(stored: Iterable[StoredKey]) -> dict[str, Any]:
    """The key set that verifies access tokens (RFC 7517)."""
    return {"keys": [public_jwk(key) for key in stored]}


def render_emails(claimed: Iterable[OutgoingEmail], lease_seconds: float) -> dict[str, Any]:
    """E-mails with their tokens in plain text, or with their detail, and the lifetime of the lease."""
    return {
        "lease_seconds": lease_seconds,
        "items": [
            {
                "id": str(email.id),
                "kind": email.kind,
                "email": email.email,
                "name": email.name,
                "token": email.token,
                "detail": email.detail,
                "created_at": format_time(email.created_at),
                "expires_at": format_time(email.expires_at),
                "attempts": email.attempts,
            }
            for email in claimed
        ],
    }


def render_api_key(key: ListedApiKey) -> dict[str, Any]:
    """An API key as shown to its user."""
    return {
        "id": str(key.id),
        "name": key.name,
        "scopes": list(key.scopes),
        "prefix": key.prefix,
        "created_at": format_time(key.created_at),
        "last_used_at": format_time(key.last_used_at) if key.last_used_at else None,
        "expires_at": format_time(key.expires_at) if key.expires_at else None,
        "revoked_at": format_time(key.revoked_at) if key.revoked_at else None,
    }


def render_new_api_key(key: ListedApiKey, text: str) -> dict[str, Any]:
    """A new API key with its text, which is shown only once."""
    rendered = render_api_key(key)
    shown = ("id", "name", "scopes", "prefix", "created_at", "expires_at")
    return {name: rendered[name] for name in shown} | {"key": text}


def render_used_api_key(key: UsedApiKey) -> dict[str, Any]:
    """The user of an API key, how long that can be cached, and after how long the next use must be reported."""
    seconds = KEY_REMEMBERED_SECONDS if key.seconds_left is None else min(KEY_REMEMBERED_SECONDS, key.seconds_left)
    return {
        "api_key_id": str(key.id),
        "user_id": str(key.user_id),
        "role": key.role.value,
        "scopes": list(key.scopes),
        "seconds": seconds,
        "fresh_seconds": min(seconds, key.hour_seconds_left),
    }


def render_revocations(rows: Sequence[Any], following: int, now: float) -> dict[str, Any]:
    """A page of the feed, the number to continue after, and the Unix time of the clock that dates access tokens."""
    items = [
        {"seq": row.seq, "session_id": str(row.session_id), "revoked_at": format_time(row.revoked_at)} for row in rows
    ]
    return {"items": items, "next": following, "now": now}
