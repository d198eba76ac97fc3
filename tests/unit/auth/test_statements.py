"""Every statement is used, and every used statement exists."""

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
    """An unused statement is dead code; a missing one would fail at its first use."""
    used = set(re.findall(r"statements\.(\w+)", Path(noun.__file__ or "").read_text()))

    assert noun.statements.names == used
