"""Documents as JSON in bytes: UTF-8, compact."""

from __future__ import annotations

import json
from typing import Any

import orjson
from aiohttp import web


def encode(document: Any) -> bytes:
    """The bytes of a document."""
    try:
        return orjson.dumps(document)
    except TypeError:
        # Integers beyond 64 bits, or half of a surrogate pair: text of a client that an error message quotes.
        return json.dumps(document, separators=(",", ":")).encode()


def respond(document: Any, *, status: int = 200) -> web.Response:
    """A JSON response."""
    return web.Response(body=encode(document), status=status, content_type="application/json")
