"""Refusals of the auth service.

Refusal
├── InvalidCredentials   401 invalid_credentials
├── TotpRequired         401 totp_required
├── InvalidRefreshToken  401 invalid_refresh_token
├── UserDisabled         403 user_disabled
├── OperatorRequired     403 operator_required
├── UserNotFound         404 user_not_found
├── SessionNotFound      404 session_not_found
├── ApiKeyNotFound       404 api_key_not_found
├── EmailTaken           409 email_taken
├── EmailVerified        409 email_already_verified
├── ApiKeyLimitReached   409 api_key_limit_reached
├── CannotModifySelf     409 cannot_modify_self
├── LastOperator         409 last_operator
├── TotpAlreadyEnabled   409 totp_already_enabled
├── TotpNotStarted       409 totp_not_started
├── TotpNotEnabled       409 totp_not_enabled
├── EmailTokenInvalid    422 email_token_invalid
└── Unavailable
    └── TooManyLogins    503 too_many_logins
"""

from __future__ import annotations

from services.contracts.refusal import FieldRefusal, Refusal, Unavailable


class InvalidCredentials(Refusal):
    """The e-mail address or the password is wrong."""

    status = 401
    code = "invalid_credentials"


class TotpRequired(Refusal):
    """A code of the second factor is required."""

    status = 401
    code = "totp_required"


class InvalidRefreshToken(Refusal):
    """The refresh token is unknown, used or expired, or its session has ended; log in again."""

    status = 401
    code = "invalid_refresh_token"


class UserDisabled(Refusal):
    """This user was disabled by an operator."""

    status = 403
    code = "user_disabled"


class OperatorRequired(Refusal):
    """This endpoint is for operators only."""

    status = 403
    code = "operator_required"


class UserNotFound(Refusal):
    """There is no such user."""

    status = 404
    code = "user_not_found"


class SessionNotFound(Refusal):
    """There is no such session."""

    status = 404
    code = "session_not_found"


class ApiKeyNotFound(Refusal):
    """There is no such API key."""

    status = 404
    code = "api_key_not_found"


class EmailTaken(Refusal):
    """This e-mail address is already registered."""

    status = 409
    code = "email_taken"


class EmailVerified(Refusal):
    """This e-mail address is already verified."""

    status = 409
    code = "email_already_verified"


class ApiKeyLimitReached(Refusal):
    """The limit of API keys is reached; revoke one first."""

    status = 409
    code = "api_key_limit_reached"


class CannotModifySelf(Refusal):
    """You cannot disable or demote your own account."""

    status = 409
    code = "cannot_modify_self"


class LastOperator(Refusal):
    """This is the last enabled operator; promote another user first."""

    status = 409
    code = "last_operator"


class TotpAlreadyEnabled(Refusal):
    """The second factor is already enabled."""

    status = 409
    code = "totp_already_enabled"


class TotpNotStarted(Refusal):
    """The set-up of a second factor has not been started."""

    status = 409
    code = "totp_not_started"


class TotpNotEnabled(Refusal):
    """The second factor is not enabled."""

    status = 409
    code = "totp_not_enabled"


class EmailTokenInvalid(FieldRefusal):
    """The token is unknown, used, expired or superseded; request another e-mail."""

    code = "email_token_invalid"

    def __init__(self) -> None:
        """The same response for every reason."""
        super().__init__("token", "is not valid")


class TooManyLogins(Unavailable):
    """Too many passwords are being checked; nothing was recorded."""

    code = "too_many_logins"
