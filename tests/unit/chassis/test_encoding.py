"""Documents as JSON in bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.chassis.encoding import encode


@pytest.mark.parametrize(
    "document",
    [
        {"amount": 10**15, "name": "Zoë \u2028", "none": None, "flags": [True, False], "control": "\x01\t\x7f"},
        {"total": 2**80, "name": "Zoë"},
        {"field": "half of a pair: \ud800"},
        {1: "a key that is no text"},
    ],
)
def test_a_document_survives(document: Any) -> None:
    """Any document that can be JSON is, also with numbers beyond 64 bits and texts that are not valid Unicode."""
    assert json.loads(json.dumps(document)) == json.loads(encode(document))


def test_a_document_is_compact_utf8() -> None:
    """No spaces, no escapes that are not needed."""
    assert '{"name":"Zoë","items":[1,2]}'.encode() == encode({"name": "Zoë", "items": [1, 2]})
