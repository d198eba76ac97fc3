"""Which batches the wallet service accepts: it checks all bounds again, whichever service sends them."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from services.chassis.body import InvalidRequest, validate_json
from services.contracts.money import AMOUNT_MAX
from services.wallet import schemas

ITEM: dict[str, Any] = {
    "transfer_id": str(UUID(int=1)),
    "source_id": str(UUID(int=2)),
    "destination_id": str(UUID(int=3)),
    "amount": 1,
    "currency": "USD",
    "expires_at": "2026-01-01T00:00:00Z",
    "description": None,
    "request_hash": "ab" * 32,
}
VOID: dict[str, Any] = {"transfer_id": str(UUID(int=1)), "reason": "timed_out", "request_hash": "ab" * 32}


def taken(adapter: Any, *items: dict[str, Any]) -> bool:
    """Whether the wallet service accepts this batch."""
    try:
        return bool(validate_json(adapter, json.dumps({"items": items}).encode()))
    except InvalidRequest:
        return False


@pytest.mark.parametrize("amount", [1, AMOUNT_MAX])
def test_amounts_up_to_the_limit_are_posted(amount: int) -> None:
    """From one minor unit to the largest amount."""
    assert taken(schemas.POST, ITEM | {"amount": amount})


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": 0}, {"amount": -1}, {"amount": AMOUNT_MAX + 1}, {"amount": "1"}, {"amount": 1.0}, {"amount": True},
        {"currency": "XYZ"}, {"currency": "usd"}, {"expires_at": "2026-01-01T00:00:00"}, {"request_hash": "ab" * 31},
        {"request_hash": "AB" * 32}, {"more": 1}, {"source_id": "x"},
        {"transfer_id": None}, {"destination_id": 3}, {"source_id": "0" * 31},
    ],
)  # fmt: skip
def test_items_that_no_command_can_have_are_refused(changes: dict[str, Any]) -> None:
    """An amount, currency, time, hash or field that no command can have."""
    assert not taken(schemas.POST, ITEM | changes)


def test_ids_are_those_of_the_standard_library() -> None:
    """The ids of a batch equal standard ones, as keys too."""
    [item] = validate_json(schemas.POST, json.dumps({"items": [ITEM]}).encode()).items

    assert {UUID(int=1): "first", UUID(int=2): "second"}[item.source_id] == "second"
    assert str(item.posting().transfer_id) == ITEM["transfer_id"]


@pytest.mark.parametrize("changes", [{"reason": ""}, {"reason": "Timed out"}, {"request_hash": "ab"}, {"amount": 1}])
def test_voids_that_no_reversal_can_send_are_refused(changes: dict[str, Any]) -> None:
    """A reason, hash or field that no void can have."""
    assert taken(schemas.VOID, VOID)
    assert not taken(schemas.VOID, VOID | changes)


@pytest.mark.parametrize(("adapter", "item"), [(schemas.POST, ITEM), (schemas.VOID, VOID)], ids=["post", "void"])
def test_a_batch_has_bounds(adapter: Any, item: dict[str, Any]) -> None:
    """One item at least, and 1,024 at most."""
    assert [False, True, True, False] == [taken(adapter, *[item] * count) for count in (0, 1, 1024, 1025)]


def test_each_field_of_an_item_is_posted() -> None:
    """Each field of an item is passed to the ledger."""
    batch = validate_json(schemas.POST, json.dumps({"items": [ITEM | {"description": "rent"}]}).encode())
    [posting] = [item.posting() for item in batch.items]

    assert (UUID(int=1), UUID(int=2), UUID(int=3), 1, "USD") == posting[:5]
    assert ("2026-01-01T00:00:00+00:00", "rent", bytes.fromhex("ab" * 32)) == (
        posting.expires_at.isoformat(), posting.description, posting.request_hash,
    )  # fmt: skip
