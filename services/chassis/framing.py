"""Requests that the parser accepts and that another server might read differently."""

from __future__ import annotations

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web

from services.chassis import problems
from services.chassis.watchdog import NotHttp


def is_plain(request: web.BaseRequest) -> bool:
    """Whether the request has only one reading.

    The parser accepts any transfer coding that ends with `chunked`, and passes on a body that another server would decode first.
    It accepts targets with another host than the Host header, and with a fragment that other servers cut off. And it accepts
    versions with another syntax: 0.9 has no headers, 2.0 no such lines.
    """
    target = request.raw_path
    return (
        target.startswith("/")
        and "#" not in target
        and request.version in (HttpVersion10, HttpVersion11)
        and request.headers.get(hdrs.TRANSFER_ENCODING, "chunked").lower() == "chunked"
    )


def refuse() -> web.Response:
    """The response to any other request; nothing more is read from its connection."""
    response = problems.render(NotHttp())
    response.force_close()
    return response
