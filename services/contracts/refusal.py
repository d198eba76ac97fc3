"""The base class of refusals: the expected errors.

A refusal is a response, not a fault: it has a stable machine-readable `code`, an HTTP status and a title. The HTTP middleware
renders it as a problem document (RFC 9457). Any other exception is a fault: 500 over HTTP; at a queue a retry, then a dead
letter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One invalid field of a request: its dotted path, and what is wrong with it."""

    field: str
    message: str


class Refusal(Exception):  # noqa: N818 - a refusal is not a fault
    """The request was understood and refused."""

    status: int = 422
    code: str = "refused"
    retry_helps: ClassVar[bool] = False

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Refuse with a sentence for the caller, the invalid fields, extra headers, and extra members of the problem document."""
        super().__init__(detail or self.title())
        self.problem_title = self.title()
        self.detail = detail or self.problem_title
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    @classmethod
    def title(cls) -> str:
        """The first line of the class docstring, so that documentation and message are the same."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]

    def problem(self) -> dict[str, Any]:
        """The problem document (RFC 9457), without the request id that the gateway adds."""
        document: dict[str, Any] = {
            "type": f"urn:payflow:problem:{self.code}",
            "title": self.problem_title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "errors": [{"field": error.field, "message": error.message} for error in self.errors],
        }
        return document | self.extra


class FieldRefusal(Refusal):
    """A field of the request is well-formed and cannot be accepted."""

    def __init__(self, field: str, message: str) -> None:
        """Name the field and what is wrong with it."""
        super().__init__(errors=[FieldError(field, message)])


class Unavailable(Refusal):
    """A dependency of the service is unavailable; retry later."""

    status = 503
    code = "unavailable"
    retry_helps = True

    def __init__(self, detail: str | None = None, *, retry_after_seconds: int = 1) -> None:
        """Refuse for now, with a `Retry-After` header."""
        super().__init__(detail, headers={"Retry-After": str(retry_after_seconds)})


class OutcomeUnknown(Refusal):
    """It is not known whether the request was carried out. Send it again; use the same Idempotency-Key if it has one."""

    status = 504
    code = "outcome_unknown"
    retry_helps = True


def from_problem(document: Mapping[str, Any], headers: Mapping[str, str]) -> Refusal:
    """Rebuild the refusal of another service from its problem document, so that it passes through unchanged."""
    known = {"type", "title", "status", "detail", "code", "errors", "request_id"}
    # Callers distinguish "unavailable" and "outcome unknown" from other refusals by their class.
    status = int(document.get("status") or 500)
    kinds: dict[int, type[Refusal]] = {Unavailable.status: Unavailable, OutcomeUnknown.status: OutcomeUnknown}
    title = str(document.get("title") or "Refused")
    refusal = kinds.get(status, Refusal)(document.get("detail") or title)
    refusal.status = status
    refusal.code = str(document.get("code") or "refused")
    refusal.problem_title = title
    refusal.errors = tuple(FieldError(str(e.get("field")), str(e.get("message"))) for e in document.get("errors") or [])
    refusal.headers = {name: headers[name] for name in ("Retry-After",) if name in headers}
    refusal.extra = {name: value for name, value in document.items() if name not in known}
    return refusal
