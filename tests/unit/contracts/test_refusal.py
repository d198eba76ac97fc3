"""A refusal that another service made passes through as it was."""

from __future__ import annotations

import pytest

from services.contracts.refusal import FieldError, OutcomeUnknown, Refusal, Unavailable, from_problem


class Teapot(Refusal):
    """It is a teapot."""

    status = 418
    code = "teapot"


def test_a_refusal_is_rebuilt_as_it_was_rendered() -> None:
    """Status, code, title, detail, faulty fields and further members are those of the problem document."""
    sent = Teapot("no coffee", errors=[FieldError("cup", "is a pot")], extra={"transfer": {"id": 1}})

    rebuilt = from_problem(sent.problem() | {"request_id": "r"}, {"Retry-After": "7", "Server": "x"})

    assert sent.problem() == rebuilt.problem()
    assert (418, "teapot", {"Retry-After": "7"}) == (rebuilt.status, rebuilt.code, rebuilt.headers)
    assert not isinstance(rebuilt, Unavailable | OutcomeUnknown)


@pytest.mark.parametrize(
    ("made", "kind"), [(Unavailable(retry_after_seconds=9), Unavailable), (OutcomeUnknown(), OutcomeUnknown)]
)
def test_away_and_unknown_stay_what_they_are(made: Refusal, kind: type[Refusal]) -> None:
    """Who calls tells them apart from a refusal by their kind, whichever service said it; the time to come back is kept."""
    rebuilt = from_problem(made.problem(), made.headers)

    assert isinstance(rebuilt, kind)
    assert made.headers == rebuilt.headers
    assert (made.status, made.code) == (rebuilt.status, rebuilt.code)


def test_a_document_without_members_is_a_fault() -> None:
    """Nothing in it says what was refused: 500."""
    assert (500, "refused") == (from_problem({}, {}).status, from_problem({}, {}).code)
