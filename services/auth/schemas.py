"""JSON in: what may be asked. JSON out: what is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, TypeAdapter

from services.auth import keyring, passwords, rules, tokens
from services.auth.commands.emails import Letter
from services.auth.commands.totp import Proposal
from services.auth.keyring import StoredKey
from services.auth.rules.user import Role, User
from services.auth.store.api_keys import ListedApiKey, UsedApiKey
from services.auth.store.sessions import LiveSession
from services.auth.store.signing_keys import KeyFacts
from services.auth.store.users import Account
from services.auth.tokens import Pair
from services.chassis.period import Moment
from services.contracts.api_keys import Scope
from services.contracts.identifiers import parse_id
from services.contracts.messages import format_time

LIST_MAX = 1000
"""How many people one call may ask about."""

LETTERS_MAX = 200
"""How many letters one call may claim."""

RETRY_SECONDS_MAX = 24 * 3600.0

HASH_BYTES = 32
KEY_REMEMBERED_SECONDS = float(tokens.ACCESS_SECONDS)
"""How long the answer about an API key may be believed: as long as an access token would live."""


def _email(text: str) -> str:
    email = rules.user.normalise_email(text)
    if email is None:
        raise ValueError("is not an e-mail address")
    return email


def _password(value: Any) -> Any:
    return passwords.canonical(value) if isinstance(value, str) else value


def _name(text: str) -> str:
    if not rules.user.is_printable(text):
        raise ValueError("holds a character that is not allowed here")
    return text


def _id(value: Any) -> UUID:
    found = parse_id(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("is not an id")
    return found


def _role(value: Any) -> Role:
    if value not in (Role.USER.value, Role.OPERATOR.value):
        raise ValueError("must be user or operator")
    return Role(value)


def _scopes(values: Any) -> list[Scope]:
    if not isinstance(values, list) or not values or any(value not in list(Scope) for value in values):
        raise ValueError(f"must be a list of some of {', '.join(Scope)}")
    if len(set(values)) != len(values):
        raise ValueError("names a scope twice")
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
    StringConstraints(strip_whitespace=True, min_length=1, max_length=rules.user.NAME_LENGTH_MAX),
    AfterValidator(_name),
]
Id = Annotated[UUID, BeforeValidator(_id)]
Password = Annotated[
    str, Field(min_length=passwords.LENGTH_MIN, max_length=passwords.LENGTH_MAX), BeforeValidator(_password)
]
KnownPassword = Annotated[str, Field(min_length=1, max_length=passwords.LENGTH_MAX), BeforeValidator(_password)]
"""One that is compared, not chosen: a short one is not malformed, only wrong."""

Code = Annotated[str, Field(min_length=1, max_length=rules.totp.CODE_LENGTH_MAX)]
UserAgent = Annotated[str, Field(min_length=1, max_length=rules.user.USER_AGENT_LENGTH_MAX), AfterValidator(_name)]
Token = Annotated[str, Field(min_length=1, max_length=rules.emails.TOKEN_LENGTH_MAX)]
Address = Annotated[str, StringConstraints(min_length=1, max_length=rules.known_locations.ADDRESS_LENGTH_MAX)]
"""A network address as the gateway writes it: one spelling for each."""


class _Asked(BaseModel):
    # Errors must not repeat what was sent: it may be a password.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class Register(_Asked):
    """Somebody wants to join."""

    email: Email
    password: Password
    name: Name
    user_agent: UserAgent | None = None
    address: Address | None = None


class Login(_Asked):
    """Somebody says who they are; `totp` is a code of the second factor or a recovery code."""

    email: Email
    password: KnownPassword
    totp: Code | None = None
    user_agent: UserAgent | None = None
    address: Address | None = None


class Place(_Asked):
    """Did this account log in from this address before?"""

    email: Email
    address: Address


class Refresh(_Asked):
    """Somebody wants to stay."""

    refresh_token: Annotated[str, Field(min_length=1, max_length=tokens.REFRESH_LENGTH_MAX)]


class Logout(_Asked):
    """Somebody leaves."""

    session_id: Id
    user_id: Id


class EmailToken(_Asked):
    """Somebody has read what was sent to their address."""

    token: Token


class VerificationWanted(_Asked):
    """Somebody wants another letter to verify their address."""

    user_id: Id


class Forgot(_Asked):
    """Somebody, who may be anybody, says that they forgot the password that goes with an address."""

    email: Email


class Reset(_Asked):
    """Somebody has read the letter, and chosen another password."""

    token: Token
    new_password: Password


class Claim(_Asked):
    """Letters to send."""

    limit: Annotated[int, Field(ge=1, le=LETTERS_MAX)]


class Settle(_Asked):
    """What became of a letter that was tried; `seconds` until the next try, `error` without names."""

    id: Id
    outcome: Literal["sent", "retried", "failed"]
    seconds: Annotated[float, Field(ge=0, le=RETRY_SECONDS_MAX)] = 0.0
    error: Annotated[str, Field(max_length=200)] = ""


class ChangePassword(_Asked):
    """Somebody wants another password."""

    user_id: Id
    current_password: KnownPassword
    new_password: Password
    totp: Code | None = None
    user_agent: UserAgent | None = None


class OfSession(_Asked):
    """One session of a user: the one to end, or the one to keep."""

    user_id: Id
    session_id: Id


class StartTotp(_Asked):
    """Somebody wants a second factor."""

    user_id: Id
    password: KnownPassword


class ConfirmTotp(_Asked):
    """Somebody has put the secret into an authenticator; this is its code."""

    user_id: Id
    code: Code


class ProveTotp(_Asked):
    """Somebody shows both factors."""

    user_id: Id
    password: KnownPassword
    totp: Code


class OfEmail(_Asked):
    """Whom an operator looks for. What is no address is simply not found."""

    email: Annotated[str, Field(max_length=rules.user.EMAIL_LENGTH_MAX)]


class SetRole(_Asked):
    """An operator gives a role."""

    operator_id: Id
    role: Annotated[Role, BeforeValidator(_role)]


class Disable(_Asked):
    """An operator disables a user."""

    operator_id: Id
    reason: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=rules.user.REASON_LENGTH_MAX),
        AfterValidator(_name),
    ]


class ByOperator(_Asked):
    """An operator acts."""

    operator_id: Id


class Emails(_Asked):
    """Addresses to resolve. One that is no address is simply not found: it must not spoil the others."""

    emails: Annotated[list[str], Field(max_length=LIST_MAX)]


class Ids(_Asked):
    """Users to tell about."""

    ids: Annotated[list[Id], Field(max_length=LIST_MAX)]


class NewApiKey(_Asked):
    """Somebody wants a key."""

    user_id: Id
    session_id: Id
    password: KnownPassword
    totp: Code | None = None
    name: Name
    scopes: Annotated[list[Scope], BeforeValidator(_scopes)]
    expires_at: Moment | None = None


class Owner(_Asked):
    """Whose keys."""

    user_id: Id


class KeyHash(_Asked):
    """A key that somebody presented, by its hash."""

    hash: Annotated[bytes, BeforeValidator(_hash)]


NEW_API_KEY = TypeAdapter(NewApiKey)
OWNER = TypeAdapter(Owner)
KEY_HASH = TypeAdapter(KeyHash)
REGISTER = TypeAdapter(Register)
LOGIN = TypeAdapter(Login)
PLACE = TypeAdapter(Place)
REFRESH = TypeAdapter(Refresh)
LOGOUT = TypeAdapter(Logout)
CHANGE_PASSWORD = TypeAdapter(ChangePassword)
OF_SESSION = TypeAdapter(OfSession)
START_TOTP = TypeAdapter(StartTotp)
CONFIRM_TOTP = TypeAdapter(ConfirmTotp)
PROVE_TOTP = TypeAdapter(ProveTotp)
OF_EMAIL = TypeAdapter(OfEmail)
SET_ROLE = TypeAdapter(SetRole)
DISABLE = TypeAdapter(Disable)
BY_OPERATOR = TypeAdapter(ByOperator)
EMAILS = TypeAdapter(Emails)
IDS = TypeAdapter(Ids)
LETTER_TOKEN = TypeAdapter(EmailToken)
VERIFICATION_WANTED = TypeAdapter(VerificationWanted)
FORGOT = TypeAdapter(Forgot)
RESET = TypeAdapter(Reset)
CLAIM = TypeAdapter(Claim)
SETTLE = TypeAdapter(Settle)


def render_user(person: User) -> dict[str, Any]:
    """A user as they see themselves."""
    return {
        "id": str(person.id),
        "email": person.email,
        "name": person.name,
        "role": person.role.value,
        "email_verified": person.email_verified,
        "totp": person.totp,
    }


def render_session(person: User, pair: Pair) -> dict[str, Any]:
    """The answer to register, login and refresh."""
    return {
        "user": render_user(person),
        "access_token": pair.access_token,
        "refresh_token": pair.refresh_token,
        "token_type": "Bearer",
        "expires_in": tokens.ACCESS_SECONDS,
    }


def render_account(account: Account) -> dict[str, Any]:
    """A user as operators see them."""
    disabled = (
        {"at": format_time(account.disabled_at), "reason": account.disabled_reason} if account.disabled_at else None
    )
    return render_user(account.user) | {"created_at": format_time(account.created_at), "disabled": disabled}


def render_sessions(found: Sequence[LiveSession], *, limit: int) -> dict[str, Any]:
    """A page of a user's sessions; `found` has one more than the page where there are more."""
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
    """What goes into an authenticator."""
    return {"secret": proposal.secret, "uri": proposal.uri}


def render_recovery_codes(codes: Sequence[str]) -> dict[str, Any]:
    """Shown once."""
    return {"recovery_codes": list(codes)}


def render_key_facts(found: Iterable[KeyFacts]) -> dict[str, Any]:
    """Keys as operators see them: nothing of them but their names and times."""
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
    """Users by the address that was asked for, spelled as it was asked."""
    items = [{"email": email, "user_id": str(person.id), "name": person.name} for email, person in found.items()]
    return {"items": items}


def render_names(people: Iterable[User]) -> dict[str, Any]:
    """What people are called."""
    return {"items": [{"user_id": str(person.id), "name": person.name} for person in people]}


def render_contacts(people: Iterable[User]) -> dict[str, Any]:
    """Where people are reached."""
    return {"items": [{"user_id": str(person.id), "email": person.email, "name": person.name} for person in people]}


def render_keys(stored: Iterable[StoredKey]) -> dict[str, Any]:
    """The key set by which anybody verifies access tokens (RFC 7517)."""
    return {"keys": [keyring.public_jwk(key) for key in stored]}


def render_letters(claimed: Iterable[Letter], lease_seconds: float) -> dict[str, Any]:
    """Letters with their tokens in the open, or with what they tell, and for how long they are left to the caller."""
    return {
        "lease_seconds": lease_seconds,
        "items": [
            {
                "id": str(letter.id),
                "kind": letter.kind,
                "email": letter.email,
                "name": letter.name,
                "token": letter.token,
                "detail": letter.detail,
                "written_at": format_time(letter.written_at),
                "expires_at": format_time(letter.expires_at),
                "attempts": letter.attempts,
            }
            for letter in claimed
        ],
    }


def render_api_key(key: ListedApiKey) -> dict[str, Any]:
    """A key as its owner sees it."""
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
    """A key as it is shown this once."""
    rendered = render_api_key(key)
    shown = ("id", "name", "scopes", "prefix", "created_at", "expires_at")
    return {name: rendered[name] for name in shown} | {"key": text}


def render_used_api_key(key: UsedApiKey) -> dict[str, Any]:
    """Whom a key speaks for; for how long that may be believed, and how soon auth wants to hear of a use again."""
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
    """A page of the feed, where the next one starts, and the Unix time by the clock that dates access tokens."""
    items = [
        {"seq": row.seq, "session_id": str(row.session_id), "revoked_at": format_time(row.revoked_at)} for row in rows
    ]
    return {"items": items, "next": following, "now": now}
