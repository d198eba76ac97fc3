"""Metrics of finalized transfers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prometheus_client import REGISTRY

from services.transaction import metrics


def finalized(currency: str) -> Any:
    """A transfer of 10 minor units that was completed."""
    return {
        "kind": "transfer",
        "failure_code": None,
        "created_at": datetime.now(UTC),
        "expected_by": None,
        "currency": currency,
        "amount": 10,
    }


def moved(currency: str) -> float | None:
    return REGISTRY.get_sample_value(
        "payflow_money_moved_minor_units_total", {"kind": "transfer", "currency": currency}
    )


def test_money_moved_is_counted() -> None:
    """By currency, in minor units."""
    before = moved("CHF") or 0.0
    metrics.count_finalized([finalized("CHF"), finalized("CHF")])
    assert before + 20 == moved("CHF")


def test_test_money_is_not_counted() -> None:
    """The transfers of the canary move no money."""
    metrics.count_finalized([finalized("XTS")])
    assert moved("XTS") is None
