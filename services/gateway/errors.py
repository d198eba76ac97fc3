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
from services.contracts.refusals.wallet import WalletNotFound

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
    """A request that moves money needs an Idempotency-Key."""

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
        """One answer for every reason: a forger learns nothing from it."""
        super().__init__(headers={"WWW-Authenticate": "Bearer"})


class OriginNotAllowed(Refusal):
    """Web pages of this origin may not do this."""

    status = 403
    code = "origin_not_allowed"


class SessionRequired(Refusal):
    """This address is for people: it needs the access token of a session, an API key will not do."""

    status = 403
    code = "session_required"


class InsufficientScope(Refusal):
    """The API key lacks the scope that this needs."""

    status = 403
    code = "insufficient_scope"

    def __init__(self, scope: Scope) -> None:
        """Name the scope, for people and as RFC 6750 has it."""
        challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
        super().__init__(f"The API key lacks the scope `{scope}`.", headers={"WWW-Authenticate": challenge})


class NotFound(Refusal):
    """There is nothing at this address."""

    status = 404
    code = "not_found"


class RecipientNotFound(Refusal):
    """Nobody is registered with this e-mail address."""

    status = 404
    code = "recipient_not_found"


class MethodNotAllowed(Refusal):
    """This address does not take this method."""

    status = 405
    code = "method_not_allowed"


class BodyTooLarge(Refusal):
    """The body is too large."""

    status = 413
    code = "body_too_large"


class ExpectationFailed(Refusal):
    """No other expectation than 100-continue is met."""

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
        """Name the query parameters that this address does not take."""
        super().__init__(
            errors=[FieldError(name or "(no name)", "is not a parameter of this address") for name in names]
        )


class RateLimited(Refusal):
    """Too many requests; come back later."""

    status = 429
    code = "rate_limited"
    retry_helps = True


class TooManyStreams(Refusal):
    """You have too many streams of events open; close one."""

    status = 429
    code = "too_many_streams"
    retry_helps = True


class TooManyFiles(Refusal):
    """Too many file downloads are in progress for this user; wait until one has ended."""

    status = 429
    code = "too_many_files"
    retry_helps = True


class NoStreamLeft(Unavailable):
    """Too many streams of events are open at this gateway."""

    code = "no_stream_left"


class KeysUnavailable(Unavailable):
    """The access token cannot be verified: its key is not known here, and the auth service does not answer."""


class KeyUnverified(Unavailable):
    """The API key cannot be verified: the auth service does not answer, and nothing is remembered of this key."""

    code = "api_key_unverified"


class NoResponseInTime(OutcomeUnknown):
    """It is not known whether the request was carried out. Send it again; use the same Idempotency-Key if it has one."""


BEFORE_ANY = (NotFound, MethodNotAllowed, RequestTooSlow, ExpectationFailed)
"""Said of requests that belong to no operation, or before it is known to which."""

WRONG_GUESSES = frozenset({InvalidCredentials.code})
"""Codes by which auth says that a secret was wrong: whoever hears one too often has to wait."""

ANYWHERE = (Fault, NotHttp)
ON_QUERY = (InvalidRequest,)
ON_UPSTREAM = (UpstreamUnavailable, DatabaseUnavailable, NoResponseInTime)
"""Whenever a service behind is asked."""

ON_MOMENT = (MomentNotFinal,)
"""Wherever figures of a moment are read."""

ON_TOKEN = (InvalidToken, KeysUnavailable)
ON_KEY_CALLER = (InsufficientScope, KeyUnverified)
"""Whenever an API key will do."""

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
