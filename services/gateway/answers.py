"""What goes back: JSON, pages, files; the headers that all of them carry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import hdrs, web

TAG_LENGTH = 32

# Built once: `json.dumps` with any option builds an encoder for every call.
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
}
"""On every answer, unless the answer says something else itself."""


async def on_prepare(_request: web.Request, response: web.StreamResponse) -> None:
    """Add the security headers, whoever made the answer; tell nobody what serves it. 503 always says when to come back."""
    headers = response.headers
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    headers.pop(hdrs.SERVER, None)
    if response.status == web.HTTPServiceUnavailable.status_code:
        headers.setdefault(hdrs.RETRY_AFTER, "1")


def encode(document: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return _encode(document).encode()


def document(content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return encoded(encode(content), status=status, headers=headers)


def encoded(content: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer whose bytes exist already."""
    return web.Response(body=content, status=status, headers=headers, content_type="application/json")


def empty() -> web.Response:
    """Done, and nothing to tell."""
    return web.Response(status=204)


def tagged(request: web.Request, content: bytes, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer with a strong ETag over its bytes; 304 when the client has it already (RFC 9110, 13.1.2)."""
    tag = hashlib.sha256(content).hexdigest()[:TAG_LENGTH]
    known = request.if_none_match or ()
    if any(each.value in (tag, "*") for each in known):
        response = web.Response(status=304, headers=headers)
    else:
        response = encoded(content, headers=headers)
    response.etag = tag
    return response


def page(html: str, *, policy: str) -> web.Response:
    """A page for people, with the Content-Security-Policy that it needs."""
    return web.Response(text=html, content_type="text/html", headers={"Content-Security-Policy": policy})


def file(text: str, *, name: str, content_type: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Something to save."""
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return web.Response(text=text, content_type=content_type, headers=disposition | dict(headers or {}))
