"""The errors of the client; `str()` of each is one readable line.

PayFlowError
├── GatewayUnreachable  no connection to the gateway: nothing was sent
├── NoResponse          the request was sent, and no complete response arrived in time
├── UnexpectedResponse  the response is not that of a PayFlow gateway
├── Problem             the gateway refused the request (RFC 9457)
├── OutcomeUnknown      a transfer may or may not have been accepted; carries its idempotency key
├── InvalidArgument     an argument that no request can carry: nothing was sent
├── NotLoggedIn         there is no session at this gateway
├── SessionEnded        the session was logged out or revoked, or has expired
├── NothingFound        a search found nothing
├── ApiKeyRefused       the API key was revoked, has expired, or never existed
└── Misconfigured       the gateway's address or the session file cannot be used
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TRANSIENT_STATUSES = frozenset({408, 429, 502, 503, 504})
KEY_IN_USE = "idempotency_key_in_use"
TRANSIENT_CODES = frozenset({KEY_IN_USE, "moment_not_final"})
KEY_REUSED = "idempotency_key_reused"

_UNAUTHORIZED = 401
_TOKEN_REFUSED = frozenset({"invalid_token", "http_401"})
_FAULTS_FROM = 500


class PayFlowError(Exception):
    """The base of all errors that this package raises."""

    retry_helps: bool = False
    """Whether the same request (with the same idempotency key) may succeed a little later."""

    maybe_done: bool = False
    """Whether the gateway may have carried out the request nevertheless."""

    retry_after_seconds: float | None = None
    """The `Retry-After` of the response, if it had one."""


class GatewayUnreachable(PayFlowError):  # noqa: N818 - the names of conditions, as in the table above
    """No connection to the gateway could be made: nothing was sent."""

    retry_helps = True

    def __init__(self, gateway: str, reason: str) -> None:
        super().__init__(f"cannot reach the gateway at {gateway}: {reason}")
        self.gateway = gateway
        self.reason = reason


class NoResponse(PayFlowError):  # noqa: N818
    """The request was sent, and no complete response arrived in time."""

    retry_helps = True
    maybe_done = True


class UnexpectedResponse(PayFlowError):  # noqa: N818
    """The response is not that of a PayFlow gateway."""

    maybe_done = True


@dataclass(frozen=True, slots=True)
class FieldError:
    """One faulty field of a request: where it is (dotted path) and what is the fault."""

    field: str
    message: str


class Problem(PayFlowError):  # noqa: N818
    """The gateway refused the request with a problem document (RFC 9457).

    `code` is the stable error code; `request_id` lets an operator find the log lines; `document` is the complete
    document, with members that this version does not know.
    """

    def __init__(
        self, status: int, document: Mapping[str, Any], *, retry_after_seconds: float | None, request_id: str | None
    ) -> None:
        self.status = status
        self.document = document
        self.code = str(document.get("code") or f"http_{status}")
        self.title = str(document.get("title") or f"the gateway responded with {status}")
        self.detail = str(document.get("detail") or self.title)
        self.errors = tuple(_field_errors(document.get("errors")))
        self.request_id = str(document.get("request_id") or request_id or "") or None
        self.retry_after_seconds = retry_after_seconds
        self.retry_helps = status in TRANSIENT_STATUSES or self.code in TRANSIENT_CODES
        self.maybe_done = status >= _FAULTS_FROM or self.code == KEY_IN_USE
        super().__init__(self._line())

    @property
    def is_unauthorized(self) -> bool:
        """Whether the gateway refused the access token (or the password)."""
        return self.status == _UNAUTHORIZED

    @property
    def is_token_refused(self) -> bool:
        """Whether the gateway refused the access token, and not a password or a code in the request."""
        return self.is_unauthorized and self.code in _TOKEN_REFUSED

    def _line(self) -> str:
        fields = "; ".join(f"{error.field}: {error.message}" for error in self.errors)
        text = f"{self.detail.rstrip('.')}: {fields}" if fields else self.detail.rstrip(".")
        request = f", request {self.request_id}" if self.request_id else ""
        return f"{text} ({self.code}{request})"


class OutcomeUnknown(PayFlowError):  # noqa: N818
    """The transfer may or may not have been accepted. It is safe to send it again with `key`, and only with that.

    `find_by_key(key)` returns it if it was accepted. `__cause__` is the last error; `request_id` lets an operator find the
    log lines.
    """

    retry_helps = True
    maybe_done = True

    def __init__(self, key: str, *, reason: PayFlowError, request_id: str) -> None:
        super().__init__(
            f"it is not known whether the transfer was accepted ({reason}); send it again with the key {key}"
        )
        self.key = key
        self.request_id = request_id


class InvalidArgument(PayFlowError, ValueError):  # noqa: N818
    """An argument that no request can carry, for instance an empty idempotency key: nothing was sent."""


class NotLoggedIn(PayFlowError):  # noqa: N818
    """There is no session at this gateway."""

    def __init__(self, gateway: str) -> None:
        super().__init__(f"not logged in to {gateway}")


class SessionEnded(PayFlowError):  # noqa: N818
    """The session was logged out or revoked, or has expired."""

    def __init__(self, gateway: str) -> None:
        super().__init__(f"the session at {gateway} has ended")


class NothingFound(PayFlowError):  # noqa: N818
    """A search found nothing."""


class ApiKeyRefused(PayFlowError):  # noqa: N818
    """The API key was revoked, has expired, or never existed."""

    def __init__(self, gateway: str) -> None:
        super().__init__(f"{gateway} refused the API key")


class Misconfigured(PayFlowError):  # noqa: N818
    """The gateway's address or the session file cannot be used."""


def _field_errors(listed: Any) -> Sequence[FieldError]:
    if not isinstance(listed, list):
        return ()
    return [
        FieldError(str(entry.get("field")), str(entry.get("message"))) for entry in listed if isinstance(entry, dict)
    ]
