"""Users, sessions, e-mail tokens and the second factor."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints

from services.contracts import limits
from services.gateway.schemas.types import (
    Email,
    KnownPassword,
    Password,
    Request,
    Response,
    TotpCode,
)

TOKEN_LENGTH_MAX = 4096
EmailTokenText = Annotated[str, StringConstraints(min_length=1, max_length=limits.EMAIL_TOKEN_LENGTH_MAX)]
SessionKind = Annotated[
    Literal["body", "cookie"],
    Field(
        description="Where the refresh token is returned: in the body, or for browsers in a cookie that scripts cannot read."
    ),
]
SESSION_IN_BODY: Literal["body"] = "body"
SESSION_IN_COOKIE = "cookie"


class Register(Request):
    """Register request."""

    email: Email
    password: Password
    name: Annotated[str, StringConstraints(min_length=1, max_length=limits.NAME_LENGTH_MAX)]
    session: SessionKind = SESSION_IN_BODY


class Login(Request):
    """Login request."""

    email: Annotated[str, StringConstraints(min_length=1, max_length=limits.EMAIL_LENGTH_MAX)]
    password: KnownPassword
    totp: TotpCode | None = None
    session: SessionKind = SESSION_IN_BODY


class Refresh(Request):
    """Refresh request. The token works once; if it is omitted, the cookie is used."""

    refresh_token: Annotated[str, StringConstraints(min_length=1, max_length=TOKEN_LENGTH_MAX)] | None = None


class Logout(Request):
    """Logout request. It ends the session of the access token; `refresh_token` is accepted and ignored."""

    refresh_token: Annotated[str | None, StringConstraints(max_length=TOKEN_LENGTH_MAX)] = None


class EmailToken(Request):
    """The token of a verification e-mail. It works once."""

    token: EmailTokenText


class ForgotPassword(Request):
    """Password reset request."""

    email: Email


class ResetPassword(Request):
    """The token of a password reset e-mail, which works once, and the new password."""

    token: EmailTokenText
    new_password: Password


class ChangePassword(Request):
    """Password change. `totp` is required if a second factor is enabled."""

    current_password: KnownPassword
    new_password: Password
    totp: TotpCode | None = None


class StartTotp(Request):
    """Second factor setup; requires the password."""

    password: KnownPassword


class ConfirmTotp(Request):
    """Second factor confirmation: the first code of the authenticator."""

    code: TotpCode


class ProveTotp(Request):
    """Both factors of the user."""

    password: KnownPassword
    totp: TotpCode


class User(Response):
    """A user."""

    id: UUID
    email: str
    name: str
    role: Literal["user", "operator", "service"]
    email_verified: bool
    totp: bool = Field(description="Whether a second factor is enabled.")


class SessionInfo(Response):
    """An active session; `current` is the one of this request."""

    id: UUID
    created_at: AwareDatetime
    used_at: AwareDatetime
    user_agent: str | None
    current: bool


class SessionPage(Response):
    """A page of active sessions, newest first."""

    items: list[SessionInfo]
    next_cursor: str | None


class TotpProposal(Response):
    """The secret for an authenticator app: in base32, and as the URI of a QR code."""

    secret: str
    uri: str


class RecoveryCodes(Response):
    """Recovery codes. Each replaces a code of the second factor, once."""

    recovery_codes: list[str]


class Session(Response):
    """A session with its tokens. `expires_in` is the lifetime of the access token in seconds."""

    user: User
    access_token: str
    refresh_token: str = Field(default_factory=str, description="Absent if it is in the cookie.")
    token_type: Literal["Bearer"]
    expires_in: int


class EmailQueued(Response):
    """An e-mail is queued, if its recipient exists. `expires_in` is the lifetime of its token in seconds."""

    expires_in: int
