"""Compression of answers over 1 kB, for clients that take gzip.

What is compressed together with a secret can be guessed from its length by somebody who may add text to it and watch the wire
(BREACH). So only answers to GET are: whatever hands out a token, a key or a code is a POST here. And a GET of somebody's data
needs a bearer token, which no foreign page can make a browser send: nobody but the client itself can ask again and again.

A strong ETag names one representation, byte for byte (RFC 9110, 8.8.3.3). Answers with a tag are left alone, but for what is
published to everybody: that exists in both forms, with a tag for each (`answers.published`). Event streams are left alone.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

BYTES_MIN = 1024
"""Below it, the packet is sent either way."""

TYPES = frozenset({"application/json", "text/csv", "text/html"})

_OK = 200
_HEADERS_REMEMBERED = 64

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def shrinking(handler: Handler) -> Handler:
    """The handler of a GET, its answers compressed where that is worth it."""

    async def shrunk(request: web.Request) -> web.StreamResponse:
        response = await handler(request)
        if isinstance(response, web.Response) and (response.content_length or 0) >= BYTES_MIN:
            _shrink(request, response)
        return response

    return shrunk


def takes_gzip(request: web.Request) -> bool:
    """Whether the client wants gzip at least as much as nothing."""
    header = request.headers.get(hdrs.ACCEPT_ENCODING)
    return header is not None and _takes_gzip(header)


def weigh(header: str) -> dict[str, float]:
    """What a client takes, and how much it wants each (RFC 9110, 12.4.2): 0 is "not that"."""
    return dict(_weighed(part) for part in header.lower().split(","))


@functools.lru_cache(_HEADERS_REMEMBERED)
def _takes_gzip(header: str) -> bool:
    weights = weigh(header)
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _weighed(part: str) -> tuple[str, float]:
    coding, _, parameter = (text.strip() for text in part.partition(";"))
    name, _, weight = (text.strip() for text in parameter.partition("="))
    try:
        return coding, float(weight) if name == "q" else 1.0
    except ValueError:
        return coding, 0.0


def _shrink(request: web.Request, response: web.Response) -> None:
    headers = response.headers
    if response.status != _OK or response.content_type not in TYPES or hdrs.ETAG in headers:
        return
    known = headers.get(hdrs.VARY)
    headers[hdrs.VARY] = f"{known}, {hdrs.ACCEPT_ENCODING}" if known else hdrs.ACCEPT_ENCODING
    if takes_gzip(request):
        response.enable_compression(web.ContentCoding.gzip)
