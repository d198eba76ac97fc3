"""Every statement has a caller, and every caller a statement."""

from __future__ import annotations

import re
from pathlib import Path

from services.auth import store


def test_every_statement_is_used() -> None:
    """A statement that no store function runs is dead; one that is run but not written would fail at its first call."""
    used = set(re.findall(r"statements\.(\w+)", Path(store.__file__).read_text()))

    assert store.statements.names == used
