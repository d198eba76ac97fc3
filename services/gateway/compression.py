"""Compression of responses over 1 kB, for clients that accept gzip.

A secret in a compressed response can be guessed from the length by an attacker who adds text to it and watches the network
(BREACH). So only responses to GET are compressed: everything that returns a token, a key or a code is a POST. And a GET of user
data requires a bearer token, which no page of another site can make a browser send, so only the client itself can repeat it.

A strong ETag names one representation, byte for byte (RFC 9110, 8.8.3.3). Responses with a tag are not compressed, except public
documents, which exist in both forms with a tag each (`responses.published`). Event streams are not compressed.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

BYTES_MIN = 1024
"""A smaller response fits into one packet anyway."""

TYPES = frozenset({"application/json", "text/csv", "text/html"})

_OK = 200
_HEADERS_CACHED = 64

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def compressing(handler: Handler) -> Handler:
    """The handler of a GET, with its responses compressed where that is worth it."""

    async def compressed(request: web.Request) -> web.StreamResponse:
        response = await handler(request)
        if isinstance(response, web.Response) and (response.content_length or 0) >= BYTES_MIN:
            _compress(request, response)
        return response

    return compressed


def accepts_gzip(request: web.Request) -> bool:
    """Whether the client accepts gzip."""
    header = request.headers.get(hdrs.ACCEPT_ENCODING)
    return header is not None and _accepts_gzip(header)


def weigh(header: str) -> dict[str, float]:
    """What a client accepts, by weight (RFC 9110, 12.4.2); 0 means not acceptable."""
    return dict(_weighed(part) for part in header.lower().split(","))


@functools.lru_cache(_HEADERS_CACHED)
def _accepts_gzip(header: str) -> bool:
    weights = weigh(header)
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _weighed(part: str) -> tuple[str, float]:
    coding, _, parameter = (text.strip() for text in part.partition(";"))
    name, _, weight = (text.strip() for text in parameter.partition("="))
    try:
        return coding, float(weight) if name == "q" else 1.0
    except ValueError:
        return coding, 0.0


def _compress(request: web.Request, response: web.Response) -> None:
    headers = response.headers
    if response.status != _OK or response.content_type not in TYPES or hdrs.ETAG in headers:
        return
    known = headers.get(hdrs.VARY)
    headers[hdrs.VARY] = f"{known}, {hdrs.ACCEPT_ENCODING}" if known else hdrs.ACCEPT_ENCODING
    if accepts_gzip(request):
        response.enable_compression(web.ContentCoding.gzip)
