"""The names of the package `payflow`."""

from __future__ import annotations

import pytest

import payflow


def test_exports() -> None:
    """Every exported name exists."""
    assert all(getattr(payflow, name).__name__ == name for name in payflow.__all__)


def test_unknown_name() -> None:
    """Another name raises AttributeError, as for any module."""
    with pytest.raises(AttributeError, match="has no attribute 'Wallets'"):
        payflow.Wallets  # noqa: B018
