"""Every statement has a caller, and every caller a statement."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from services.auth import store, store_api_keys


@pytest.mark.parametrize("store", [store, store_api_keys])
def test_every_statement_is_used(store: ModuleType) -> None:
    """A statement that no store function runs is dead; one that is run but not written would fail at its first call."""
    used = set(re.findall(r"statements\.(\w+)", Path(store.__file__).read_text()))

    assert store.statements.names == used
