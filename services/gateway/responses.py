"""Responses: JSON, pages and files, and the headers that all of them have."""

from __future__ import annotations

import functools
import gzip
import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from aiohttp import hdrs, web

from services.chassis.encoding import encode
from services.gateway import compression

TAG_LENGTH = 32
ANY_TAG = "*"
_ENTITY_TAG = re.compile(r'"([\x21\x23-\x7e]*)"')

_FORMS_CACHED = 8

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
}
"""On every response, unless the response sets its own."""


class _Form(NamedTuple):
    """One representation of a published document, and its tag."""

    content: bytes
    tag: str


async def on_prepare(_request: web.Request, response: web.StreamResponse) -> None:
    """Add the security headers to every response, and hide the server software.

    503 always has `Retry-After` and 401 `WWW-Authenticate` (RFC 9110, 15.5.2), even if an upstream service refused.
    """
    headers = response.headers
    headers.merge(HEADERS)
    headers.pop(hdrs.SERVER, None)
    if response.status == web.HTTPServiceUnavailable.status_code:
        headers.setdefault(hdrs.RETRY_AFTER, "1")
    if response.status == web.HTTPUnauthorized.status_code:
        headers.setdefault(hdrs.WWW_AUTHENTICATE, "Bearer")


def document(content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON response."""
    return encoded(encode(content), status=status, headers=headers)


def encoded(content: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON response from encoded bytes."""
    return web.Response(body=content, status=status, headers=headers, content_type="application/json")


def empty() -> web.Response:
    """A response without content."""
    return web.Response(status=204)


def tagged(request: web.Request, content: bytes, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON response with a strong ETag over its bytes; 304 if the client has it already (RFC 9110, 13.1.2)."""
    tag = _tag(content)
    if not _known_tags(request).isdisjoint((tag, ANY_TAG)):
        response = web.Response(status=304, headers=headers)
    else:
        response = encoded(content, headers=headers)
    response.etag = tag
    return response


def published(request: web.Request, content: bytes, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """As `tagged`, for constant public documents: compressed once, with a tag of its own."""
    whole, small = _forms(content)
    wanted = small if compression.accepts_gzip(request) else whole
    known = _known_tags(request)
    held = next((form for form in (wanted, whole, small) if form.tag in known), wanted if ANY_TAG in known else None)
    if held is not None:
        response = web.Response(status=304, headers=headers)
    else:
        response = encoded(wanted.content, headers=headers)
        if wanted is small:
            response.headers[hdrs.CONTENT_ENCODING] = "gzip"
    response.headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
    response.etag = (held or wanted).tag
    return response


def page(html: str, *, policy: str) -> web.Response:
    """An HTML page, with the Content-Security-Policy that it needs."""
    return web.Response(text=html, content_type="text/html", headers={"Content-Security-Policy": policy})


def attachment(name: str) -> dict[str, str]:
    """The headers of a file download."""
    return {"Content-Disposition": f'attachment; filename="{name}"'}


@functools.lru_cache(_FORMS_CACHED)
def _forms(content: bytes) -> tuple[_Form, _Form]:
    tag = _tag(content)
    return _Form(content, tag), _Form(gzip.compress(content, mtime=0), f"{tag}-gzip")


def _known_tags(request: web.Request) -> frozenset[str]:
    # aiohttp reads only the first line, and ignores it if one element is empty (RFC 9110, 5.3 and 5.6.1).
    text = ",".join(request.headers.getall(hdrs.IF_NONE_MATCH, ()))
    return frozenset((ANY_TAG,)) if text.strip() == ANY_TAG else frozenset(_ENTITY_TAG.findall(text)) - {ANY_TAG}


def _tag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:TAG_LENGTH]
