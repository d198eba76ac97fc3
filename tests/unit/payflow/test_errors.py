"""The texts of errors, and what they state about the request."""

from __future__ import annotations

import pytest

from payflow.errors import GatewayUnreachable, NoResponse, OutcomeUnknown, PayFlowError, Problem


def test_problem_in_one_line() -> None:
    """The line has the detail, every faulty field, the code and the request id."""
    document = {
        "code": "invalid_request",
        "detail": "The request is not valid.",
        "request_id": "r-1",
        "errors": [{"field": "amount", "message": "is missing"}, {"field": "to.email", "message": "is too long"}],
    }

    problem = Problem(422, document, retry_after_seconds=None, request_id="from the header")

    assert str(problem) == (
        "The request is not valid: amount: is missing; to.email: is too long (invalid_request, request r-1)"
    )
    assert [error.field for error in problem.errors] == ["amount", "to.email"]


@pytest.mark.parametrize("document", [{}, {"errors": "none"}, {"errors": [1]}, {"detail": None, "code": None}])
def test_problem_without_a_document(document: dict[str, object]) -> None:
    """A refusal by a proxy is reported with its status."""
    problem = Problem(502, document, retry_after_seconds=None, request_id="r-2")

    assert str(problem) == "the gateway responded with 502 (http_502, request r-2)"
    assert problem.errors == ()


@pytest.mark.parametrize(
    ("error", "maybe_done"),
    [
        (GatewayUnreachable("http://h", "connection refused"), False),
        (NoResponse("silence"), True),
        (Problem(429, {}, retry_after_seconds=None, request_id=None), False),
        (Problem(422, {}, retry_after_seconds=None, request_id=None), False),
        (Problem(500, {}, retry_after_seconds=None, request_id=None), True),
        (Problem(503, {}, retry_after_seconds=None, request_id=None), True),
        (Problem(504, {}, retry_after_seconds=None, request_id=None), True),
        (Problem(409, {"code": "idempotency_key_in_use"}, retry_after_seconds=None, request_id=None), True),
    ],
)
def test_maybe_done(error: PayFlowError, maybe_done: bool) -> None:
    """Only a request that was not sent, or that the gateway refused, was certainly not carried out."""
    assert error.maybe_done is maybe_done


def test_unknown_outcome_names_its_key() -> None:
    """The text has the key, also where only the text is logged."""
    error = OutcomeUnknown("k-1", reason=NoResponse("silence"), request_id="r-1")

    assert (error.key, error.request_id) == ("k-1", "r-1")
    assert "k-1" in str(error)
    assert "silence" in str(error)
