"""What `import payflow` offers."""

from __future__ import annotations

import pytest

import payflow


def test_exports() -> None:
    """Every name that is offered is there."""
    assert all(getattr(payflow, name).__name__ == name for name in payflow.__all__)


def test_unknown_name() -> None:
    """Another name is an attribute error, as of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'Wallets'"):
        payflow.Wallets  # noqa: B018
