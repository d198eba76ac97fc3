"""Users, sessions, e-mail tokens and the second factor."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints

from services.gateway.schemas.types import (
    EMAIL_LENGTH_MAX,
    NAME_LENGTH_MAX,
    Email,
    KnownPassword,
    Password,
    Reply,
    Request,
    TotpCode,
)

TOKEN_LENGTH_MAX = 4096
LETTER_TOKEN_LENGTH_MAX = 200
LetterTokenText = Annotated[str, StringConstraints(min_length=1, max_length=LETTER_TOKEN_LENGTH_MAX)]
SessionKind = Annotated[
    Literal["body", "cookie"],
    Field(
        description="Where the refresh token is given: in the answer, or to a browser in a cookie that no script reads."
    ),
]
SESSION_IN_BODY: Literal["body"] = "body"
SESSION_IN_COOKIE = "cookie"


class Register(Request):
    """Somebody new."""

    email: Email
    password: Password
    name: Annotated[str, StringConstraints(min_length=1, max_length=NAME_LENGTH_MAX)]
    session: SessionKind = SESSION_IN_BODY


class Login(Request):
    """Somebody known."""

    email: Annotated[str, StringConstraints(min_length=1, max_length=EMAIL_LENGTH_MAX)]
    password: KnownPassword
    totp: TotpCode | None = None
    session: SessionKind = SESSION_IN_BODY


class Refresh(Request):
    """A refresh token; it is spent by this. Without one the cookie is taken."""

    refresh_token: Annotated[str, StringConstraints(min_length=1, max_length=TOKEN_LENGTH_MAX)] | None = None


class Logout(Request):
    """Nothing is needed: the session of the access token ends. A refresh token may be sent and is not looked at."""

    refresh_token: Annotated[str | None, StringConstraints(max_length=TOKEN_LENGTH_MAX)] = None


class EmailToken(Request):
    """The token of a letter; it is spent by this."""

    token: LetterTokenText


class ForgotPassword(Request):
    """Whose password was forgotten."""

    email: Email


class ResetPassword(Request):
    """The token of a letter, which is spent by this, and another password."""

    token: LetterTokenText
    new_password: Password


class ChangePassword(Request):
    """Another password. `totp` is needed when a second factor is on."""

    current_password: KnownPassword
    new_password: Password
    totp: TotpCode | None = None


class StartTotp(Request):
    """The password, once more."""

    password: KnownPassword


class ConfirmTotp(Request):
    """The first code of the authenticator."""

    code: TotpCode


class ProveTotp(Request):
    """Both factors."""

    password: KnownPassword
    totp: TotpCode


class User(Reply):
    """A person, as the person and operators see it."""

    id: UUID
    email: str
    name: str
    role: Literal["user", "operator", "service"]
    email_verified: bool
    totp: bool = Field(description="Whether a second factor is on.")


class SessionInfo(Reply):
    """A session that goes on; `current` is the one that asks."""

    id: UUID
    created_at: AwareDatetime
    used_at: AwareDatetime
    user_agent: str | None
    current: bool


class SessionPage(Reply):
    """Sessions that go on, newest first."""

    items: list[SessionInfo]
    next_cursor: str | None


class TotpProposal(Reply):
    """What goes into an authenticator: the secret in base32, and as the URI of a QR code."""

    secret: str
    uri: str


class RecoveryCodes(Reply):
    """Each of them stands in for a code of the second factor, once."""

    recovery_codes: list[str]


class Session(Reply):
    """Logged in. `expires_in` is the life of the access token in seconds."""

    user: User
    access_token: str
    refresh_token: str = Field(default_factory=str, description="Absent where it is in the cookie.")
    token_type: Literal["Bearer"]
    expires_in: int


class EmailQueued(Reply):
    """A letter is on its way, if there is somebody to get it. `expires_in` is the life of its token in seconds."""

    expires_in: int
