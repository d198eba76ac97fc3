"""Every statement has a caller, and every caller a statement."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from services.auth.actions import audit
from services.auth.store import accounts, api_keys, emails, known_locations, sessions, signing_keys, totp, users

NOUNS = [accounts, api_keys, audit, emails, known_locations, sessions, signing_keys, totp, users]


@pytest.mark.parametrize("noun", NOUNS, ids=[noun.__name__ for noun in NOUNS])
def test_every_statement_is_used(noun: ModuleType) -> None:
    """A statement that no store function runs is dead; one that is run but not written would fail at its first call."""
    used = set(re.findall(r"statements\.(\w+)", Path(noun.__file__ or "").read_text()))

    assert noun.statements.names == used
