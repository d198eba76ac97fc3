"""A ticket contains lines about its transfer, and nothing about others, whatever request id its client chose."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from payflow.log_line import Subject, read_line

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
OTHER = "01890a5d-ac96-774b-bcce-000000000000"
SENDER = "01890a5d-0000-774b-bcce-b302099a8057"
REQUEST = "transaction"
"""A word of many lines."""

SUBJECT = Subject(ID, REQUEST, frozenset({SENDER}))


def read(**fields: Any) -> dict[str, Any] | None:
    """The line with these fields."""
    return read_line("wallet", json.dumps(fields), SUBJECT)


@pytest.mark.parametrize(
    "fields",
    [
        {"event": "call_failed", "transfer_id": ID},
        {"event": "request_failed", "request_id": REQUEST},
        {"event": "request_failed", "request_id": REQUEST, "user_id": SENDER},
        {"event": "transfers_accepted", "transfers": [f"{ID} new {SENDER} {REQUEST}"]},
    ],
)
def test_its_own_lines(fields: dict[str, Any]) -> None:
    """By its id, or by the id of its request."""
    assert {"source": "wallet"} | fields == read(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"event": "other", "service": "transaction"},
        {"event": "transaction", "detail": "a transaction failed"},
        {"event": "call_failed", "request_id": REQUEST, "transfer_id": OTHER},
        {"event": "login_failed", "request_id": REQUEST, "user_id": OTHER},
        {"event": "transfers_finalized", "transfers": [f"{OTHER} COMPLETED {REQUEST}"]},
        {"event": "request_failed", "request_id": f"{REQUEST}-2"},
    ],
)
def test_lines_of_others(fields: dict[str, Any]) -> None:
    """Lines with the word elsewhere, or of another transfer or user with the same request id, are left out."""
    assert read(**fields) is None


def test_text_without_fields() -> None:
    """A line of an engine counts only with the id of the transfer."""
    assert read_line("postgres", "payflow_transaction@transaction ERROR: x", SUBJECT) is None
    assert {"source": "postgres", "line": f"ERROR: Key (id)=({ID})"} == read_line(
        "postgres", f"ERROR: Key (id)=({ID})\n", SUBJECT
    )


def test_lists_contain_no_other_transfer() -> None:
    """Of a list its own members; without any, those that name no id."""
    line = read(
        request_id=REQUEST,
        transfers=[f"{OTHER} x {REQUEST}", f"{ID} y"],
        wallets=[OTHER],
        failing=["postgres", "schema"],
    )

    assert line is not None
    assert ([f"{ID} y"], [], ["postgres", "schema"]) == (line["transfers"], line["wallets"], line["failing"])


@pytest.mark.parametrize("request_id", [None, "1", "a.b:c-d_e", REQUEST])
def test_the_pattern_for_loki(request_id: str | None) -> None:
    """It finds the id anywhere, and the request id where request ids stand."""
    pattern = re.compile(Subject(ID, request_id).pattern())
    lines = [json.dumps({"request_id": request_id}), json.dumps({"transfers": [f"x new y {request_id}"]})]

    assert pattern.search(f"about {ID}.")
    assert [request_id is not None] * 2 == [bool(pattern.search(line)) for line in lines]
    assert not pattern.search(json.dumps({"service": "transaction", "other": "1", "a": "aXb:c-d_e"}))
