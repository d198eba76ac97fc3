"""What the gateway refuses, and what it passes on from behind: every code that an answer may carry, in one place.

Those below "Said here" are raised by the gateway. Those below "Said behind" are raised by a service behind it and pass
through unchanged; they stand here so that the document can name them (a test holds code, status and `retry_helps` equal).
"""

from __future__ import annotations

from services.chassis.body import InvalidRequest, MalformedJson, UnsupportedMediaType
from services.chassis.client import UpstreamUnavailable
from services.chassis.database import DatabaseUnavailable
from services.chassis.finality import MomentNotFinal
from services.chassis.problems import Fault
from services.contracts.api_keys import Scope
from services.contracts.refusal import FieldError, OutcomeUnknown, Refusal, Unavailable

# --- Said here ---------------------------------------------------------------------------------------------------------


class BadRequest(Refusal):
    """The request is not HTTP that we accept."""

    status = 400
    code = "bad_request"


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


class OperatorRequired(Refusal):
    """This address is for operators."""

    status = 403
    code = "operator_required"


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


class WalletNotFound(Refusal):
    """There is no such wallet."""

    status = 404
    code = "wallet_not_found"


class TransferNotFound(Refusal):
    """There is no such transfer."""

    status = 404
    code = "transfer_not_found"


class ApiKeyNotFound(Refusal):
    """There is no such API key."""

    status = 404
    code = "api_key_not_found"


class NotificationNotFound(Refusal):
    """There is no such notification."""

    status = 404
    code = "notification_not_found"


class SessionNotFound(Refusal):
    """There is no such session."""

    status = 404
    code = "session_not_found"


class RecipientNotFound(Refusal):
    """Nobody is registered with this e-mail address."""

    status = 404
    code = "recipient_not_found"


class MethodNotAllowed(Refusal):
    """This address does not take this method."""

    status = 405
    code = "method_not_allowed"


class BodyTooSlow(Refusal):
    """The request did not arrive in time."""

    status = 408
    code = "request_timeout"
    retry_helps = True


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


# --- Said behind -------------------------------------------------------------------------------------------------------


class EmailTaken(Refusal):
    """This e-mail address is already registered."""

    status = 409
    code = "email_taken"


class ApiKeyLimitReached(Refusal):
    """The limit of API keys is reached; revoke one first."""

    status = 409
    code = "api_key_limit_reached"


class InvalidCredentials(Refusal):
    """The e-mail address or the password is wrong."""

    status = 401
    code = "invalid_credentials"


class InvalidRefreshToken(Refusal):
    """The refresh token is unknown, spent or expired, or its session has ended; log in again."""

    status = 401
    code = "invalid_refresh_token"


class TotpRequired(Refusal):
    """A code of the second factor is required."""

    status = 401
    code = "totp_required"


class UserDisabled(Refusal):
    """This user was disabled by an operator."""

    status = 403
    code = "user_disabled"


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


class UserNotFound(Refusal):
    """There is no such user."""

    status = 404
    code = "user_not_found"


class EmailVerified(Refusal):
    """This e-mail address is already verified."""

    status = 409
    code = "email_already_verified"


class EmailTokenInvalid(Refusal):
    """The token is unknown, used, expired or superseded; request another e-mail."""

    status = 422
    code = "email_token_invalid"


class TooManyLogins(Unavailable):
    """Too many passwords are being checked; nothing was recorded."""

    code = "too_many_logins"


class IdempotencyKeyInUse(Refusal):
    """The first request with this idempotency key is still being accepted."""

    status = 409
    code = "idempotency_key_in_use"
    retry_helps = True


class IdempotencyKeyReused(Refusal):
    """This idempotency key was used for another request."""

    status = 422
    code = "idempotency_key_reused"


class UnknownRecipient(Refusal):
    """There is nobody to receive this."""

    code = "recipient_not_found"


class UnknownWallet(Refusal):
    """There is no such wallet for this transfer."""

    code = "wallet_not_found"


class WalletFrozen(Refusal):
    """A wallet of this transfer is frozen."""

    code = "wallet_frozen"


class CurrencyMismatch(Refusal):
    """A wallet of this transfer is in another currency."""

    code = "currency_mismatch"


class SameWallet(Refusal):
    """A transfer needs two different wallets."""

    code = "same_wallet"


class InsufficientFunds(Refusal):
    """The wallet does not hold that much."""

    code = "insufficient_funds"


class Busy(Unavailable):
    """There is more work ahead than can be done in time."""

    code = "busy"


class TransferNotCancellable(Refusal):
    """The transfer has already reached another outcome."""

    status = 409
    code = "transfer_not_cancellable"


BEFORE_ANY = (NotFound, MethodNotAllowed, BodyTooSlow, ExpectationFailed)
"""Said of requests that belong to no operation, or before it is known to which."""

WRONG_GUESSES = frozenset({InvalidCredentials.code})
"""Codes by which auth says that a secret was wrong: whoever hears one too often has to wait."""

ANYWHERE = (Fault, BadRequest)
ON_QUERY = (InvalidRequest,)
ON_UPSTREAM = (UpstreamUnavailable, DatabaseUnavailable, NoResponseInTime)
"""Whenever a service behind is asked."""

ON_MOMENT = (MomentNotFinal,)
"""Wherever figures of a moment are read."""

ON_TOKEN = (InvalidToken, KeysUnavailable)
ON_KEY_CALLER = (InsufficientScope, KeyUnverified)
"""Whenever an API key will do."""

ON_BODY = (MalformedJson, BodyTooSlow, BodyTooLarge, UnsupportedMediaType, InvalidRequest)
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
