"""Requests that the parser takes and that another server might read in another way."""

from __future__ import annotations

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web

from services.chassis import problems
from services.chassis.watchdog import NotHttp


def is_plain(request: web.BaseRequest) -> bool:
    """Whether there is one way to read it.

    The parser takes any coding of which `chunked` is the last, and hands over a body that somebody else would decode first. It
    takes addresses that name another host than the Host header does, and ones with a fragment that others cut off. And it
    takes requests of versions that are written in another way: 0.9 has no headers, 2.0 no such lines.
    """
    target = request.raw_path
    return (
        target.startswith("/")
        and "#" not in target
        and request.version in (HttpVersion10, HttpVersion11)
        and request.headers.get(hdrs.TRANSFER_ENCODING, "chunked").lower() == "chunked"
    )


def refuse() -> web.Response:
    """The answer to one that is not; nothing more is read from its connection."""
    response = problems.render(NotHttp())
    response.force_close()
    return response
