"""Refusals: every problem code of the API in one place.

Those of upstream services come from `services.contracts.refusals` and pass through unchanged.
"""

from __future__ import annotations

from services.chassis.body import InvalidRequest, MalformedJson, UnsupportedMediaType
from services.chassis.client import UpstreamUnavailable
from services.chassis.database import DatabaseUnavailable
from services.chassis.finality import MomentNotFinal
from services.chassis.problems import Fault
from services.chassis.watchdog import NotHttp, RequestTooSlow
from services.contracts.api_keys import Scope
from services.contracts.refusal import FieldError, OutcomeUnknown, Refusal, Unavailable
from services.contracts.refusals.auth import (
    ApiKeyLimitReached,
    ApiKeyNotFound,
    CannotModifySelf,
    EmailTaken,
    EmailTokenInvalid,
    EmailVerified,
    InvalidCredentials,
    InvalidRefreshToken,
    LastOperator,
    OperatorRequired,
    SessionNotFound,
    TooManyLogins,
    TotpAlreadyEnabled,
    TotpNotEnabled,
    TotpNotStarted,
    TotpRequired,
    UserDisabled,
    UserNotFound,
)
from services.contracts.refusals.notification import NotificationNotFound
from services.contracts.refusals.transaction import (
    Busy,
    CurrencyMismatch,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    InsufficientFunds,
    SameWallet,
    TransferNotCancellable,
    TransferNotFound,
    UnknownRecipient,
    UnknownWallet,
    WalletFrozen,
)
from services.contracts.refusals.wallet import (
    OutcomeNotFound,
    OutcomeNotLate,
    ProofRunning,
    ProofRunNotFound,
    WalletNotFound,
)

__all__ = [
    "ApiKeyLimitReached",
    "ApiKeyNotFound",
    "Busy",
    "CannotModifySelf",
    "CurrencyMismatch",
    "EmailTaken",
    "EmailTokenInvalid",
    "EmailVerified",
    "IdempotencyKeyInUse",
    "IdempotencyKeyReused",
    "InsufficientFunds",
    "InvalidCredentials",
    "InvalidRefreshToken",
    "LastOperator",
    "NotificationNotFound",
    "OperatorRequired",
    "OutcomeNotFound",
    "OutcomeNotLate",
    "ProofRunNotFound",
    "ProofRunning",
    "SameWallet",
    "SessionNotFound",
    "TooManyLogins",
    "TotpAlreadyEnabled",
    "TotpNotEnabled",
    "TotpNotStarted",
    "TotpRequired",
    "TransferNotCancellable",
    "TransferNotFound",
    "UnknownRecipient",
    "UnknownWallet",
    "UserDisabled",
    "UserNotFound",
    "WalletFrozen",
    "WalletNotFound",
]
"""The refusals of upstream services that the API can return."""


class IdempotencyKeyMissing(Refusal):
    """This request requires an Idempotency-Key header."""

    status = 400
    code = "idempotency_key_missing"


class IdempotencyKeyInvalid(Refusal):
    """The Idempotency-Key must be 1 to 255 visible ASCII characters, sent once."""

    status = 400
    code = "idempotency_key_invalid"


class InvalidToken(Refusal):
    """The access token is missing, malformed, expired or revoked."""

    status = 401
    code = "invalid_token"

    def __init__(self) -> None:
        """The same response for every reason, so that it reveals nothing to an attacker."""
        super().__init__(headers={"WWW-Authenticate": "Bearer"})


class OriginNotAllowed(Refusal):
    """Web pages of this origin may not send this request."""

    status = 403
    code = "origin_not_allowed"


class SessionRequired(Refusal):
    """This endpoint requires the access token of a session; API keys are not accepted."""

    status = 403
    code = "session_required"


class InsufficientScope(Refusal):
    """The API key lacks the required scope."""

    status = 403
    code = "insufficient_scope"

    def __init__(self, scope: Scope) -> None:
        """Name the scope in the detail and, as RFC 6750 defines it, in the challenge."""
        challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
        super().__init__(f"The API key lacks the scope `{scope}`.", headers={"WWW-Authenticate": challenge})


class NotFound(Refusal):
    """The path does not exist."""

    status = 404
    code = "not_found"


class RecipientNotFound(Refusal):
    """No user is registered with this e-mail address."""

    status = 404
    code = "recipient_not_found"


class MethodNotAllowed(Refusal):
    """The method is not allowed for this path."""

    status = 405
    code = "method_not_allowed"


class BodyTooLarge(Refusal):
    """The body is too large."""

    status = 413
    code = "body_too_large"


class ExpectationFailed(Refusal):
    """The only supported expectation is 100-continue."""

    status = 417
    code = "expectation_failed"


class HttpVersionTooOld(Refusal):
    """A file of this length cannot be sent over HTTP/1.0: an interrupted response would look complete. Use HTTP/1.1."""

    status = 426
    code = "http_version_too_old"

    def __init__(self) -> None:
        """Name the required version, as RFC 9110 (15.5.22) demands."""
        super().__init__(headers={"Upgrade": "HTTP/1.1", "Connection": "Upgrade"})


class UnknownParameter(InvalidRequest):
    """Some fields of the request are not acceptable."""

    def __init__(self, *names: str) -> None:
        """Name the unknown query parameters."""
        super().__init__(
            errors=[FieldError(name or "(no name)", "is not a parameter of this endpoint") for name in names]
        )


class RateLimited(Refusal):
    """Too many requests; retry later."""

    status = 429
    code = "rate_limited"
    retry_helps = True


class TooManyStreams(Refusal):
    """Too many event streams are open for this user; close one."""

    status = 429
    code = "too_many_streams"
    retry_helps = True


class TooManyFiles(Refusal):
    """Too many file downloads are in progress for this user; wait until one has ended."""

    status = 429
    code = "too_many_files"
    retry_helps = True


class NoStreamLeft(Unavailable):
    """Too many event streams are open on this gateway."""

    code = "no_stream_left"


class KeysUnavailable(Unavailable):
    """The access token cannot be verified: its key is unknown, and the auth service is unavailable."""


class KeyUnverified(Unavailable):
    """The API key cannot be verified: the auth service is unavailable, and no earlier result is cached."""

    code = "api_key_unverified"


class NoResponseInTime(OutcomeUnknown):
    """It is not known whether the request was carried out. Send it again; use the same Idempotency-Key if it has one."""


BEFORE_ANY = (NotFound, MethodNotAllowed, RequestTooSlow, ExpectationFailed)
"""Raised for requests without an operation, or before it is known."""

FAILED_LOGINS = frozenset({InvalidCredentials.code})
"""Codes by which auth reports a wrong password or code; they count for the login throttle."""

ANYWHERE = (Fault, NotHttp)
ON_QUERY = (InvalidRequest,)
ON_UPSTREAM = (UpstreamUnavailable, DatabaseUnavailable, NoResponseInTime)
"""Raised by every call to an upstream service."""

ON_MOMENT = (MomentNotFinal,)
"""Raised by reads of figures at an instant."""

ON_TOKEN = (InvalidToken, KeysUnavailable)
ON_KEY_CALLER = (InsufficientScope, KeyUnverified)
"""Raised where API keys are accepted."""

ON_BODY = (MalformedJson, RequestTooSlow, BodyTooLarge, UnsupportedMediaType, InvalidRequest)
ON_KEY = (IdempotencyKeyMissing, IdempotencyKeyInvalid, IdempotencyKeyInUse, IdempotencyKeyReused)
ON_TRANSFER = (
    *ON_KEY,
    UnknownRecipient,
    UnknownWallet,
    WalletFrozen,
    CurrencyMismatch,
    SameWallet,
    InsufficientFunds,
    Busy,
)
