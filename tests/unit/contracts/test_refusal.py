"""A refusal of another service passes through unchanged."""

from __future__ import annotations

import pytest

from services.contracts.refusal import FieldError, OutcomeUnknown, Refusal, Unavailable, from_problem


class Teapot(Refusal):
    """It is a teapot."""

    status = 418
    code = "teapot"


def test_a_refusal_is_rebuilt_as_it_was_rendered() -> None:
    """Status, code, title, detail, invalid fields and further members are those of the problem document."""
    sent = Teapot("no coffee", errors=[FieldError("cup", "is a pot")], extra={"transfer": {"id": 1}})

    rebuilt = from_problem(sent.problem() | {"request_id": "r"}, {"Retry-After": "7", "Server": "x"})

    assert sent.problem() == rebuilt.problem()
    assert (418, "teapot", {"Retry-After": "7"}) == (rebuilt.status, rebuilt.code, rebuilt.headers)
    assert not isinstance(rebuilt, Unavailable | OutcomeUnknown)


@pytest.mark.parametrize(
    ("made", "kind"), [(Unavailable(retry_after_seconds=9), Unavailable), (OutcomeUnknown(), OutcomeUnknown)]
)
def test_unavailable_and_unknown_keep_their_class(made: Refusal, kind: type[Refusal]) -> None:
    """Callers distinguish them from other refusals by their class, whichever service raised them; `Retry-After` is kept."""
    rebuilt = from_problem(made.problem(), made.headers)

    assert isinstance(rebuilt, kind)
    assert made.headers == rebuilt.headers
    assert (made.status, made.code) == (rebuilt.status, rebuilt.code)


def test_a_document_without_members_is_a_fault() -> None:
    """Without a status and a code it is a fault: 500."""
    assert (500, "refused") == (from_problem({}, {}).status, from_problem({}, {}).code)
