"""Authenticated requests to one gateway: sent once, repeated, or page by page."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

from payflow import document as read
from payflow import limits
from payflow.authentication import Authentication, bearer
from payflow.errors import PayFlowError, Problem, UnexpectedResponse
from payflow.limits import Limits
from payflow.request import given
from payflow.retry import RetryPolicy
from payflow.simulation import Simulation
from payflow.transport import Response, Transport

T = TypeVar("T")


class Gateway:
    """One gateway as one user calls it."""

    def __init__(self, transport: Transport, authentication: Authentication, limits: Limits) -> None:
        """Every request carries the credentials of `authentication`."""
        self.transport = transport
        self.authentication = authentication
        self.limits = limits
        self.simulation = Simulation()

    async def send_once(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> Response:
        """Send one request, and once more with a new access token if the gateway refuses the token.

        Raises:
            PayFlowError: as `Transport.send`, and what prevents an access token.
        """
        token = await self.token()
        send = functools.partial(self.transport.send, method, path, body=body, params=params, seconds=seconds)
        headers = {**(headers or {}), **self.simulation.take()}
        try:
            return await send(headers={**headers, **bearer(token)})
        except Problem as problem:
            if not problem.is_token_refused:
                raise
        token = await self.token(spent=token)
        try:
            return await send(headers={**headers, **bearer(token)})
        except Problem as problem:
            if not problem.is_token_refused:
                raise
            raise self.authentication.refused() from problem

    async def send(
        self,
        method: str,
        path: str,
        reader: Callable[[Any], T],
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> T:
        """Send a request that is safe to repeat, and repeat it while that may help; the response as `reader` reads it."""
        policy = RetryPolicy(self.limits)
        while True:
            try:
                response = await self.send_once(method, path, body=body, params=params, seconds=seconds)
            except PayFlowError as error:
                await policy.pause(error)
            else:
                return read.convert(reader, response.document)

    async def pages(self, path: str, reader: Callable[[Any], T], params: Mapping[str, str | None]) -> AsyncIterator[T]:
        """The items of a list, requested page by page."""
        cursor: str | None = None
        while True:
            page_params = given({**params, "limit": str(limits.PAGE_SIZE_MAX), "cursor": cursor})
            items, next_cursor = await self.send("GET", path, read.page, params=page_params)
            for item in items:
                yield read.convert(reader, item)
            cursor = _next(cursor, next_cursor)
            if cursor is None:
                return

    async def whole_list(self, path: str, params: Mapping[str, str], *, count_max: int | None = None) -> dict[str, Any]:
        """All pages as one document: `items`, at most `count_max`; `unavailable` services; `has_more` if some were left out."""
        items: list[Any] = []
        unavailable: set[str] = set()
        cursor: str | None = None
        while True:
            size = limits.PAGE_SIZE_MAX if count_max is None else min(limits.PAGE_SIZE_MAX, count_max - len(items))
            page = await self.send("GET", path, dict, params=given({**params, "limit": str(size), "cursor": cursor}))
            more, next_cursor = read.convert(read.page, page)
            items += more
            unavailable |= set(page.get("unavailable", ()))
            if next_cursor is None or len(items) == count_max:
                return {"items": items, "unavailable": sorted(unavailable), "has_more": next_cursor is not None}
            cursor = _next(cursor, next_cursor)

    async def token(self, *, spent: str | None = None) -> str:
        """An access token, other than `spent`."""
        try:
            return await (self.authentication.token() if spent is None else self.authentication.renew(spent))
        except PayFlowError as error:
            # Whatever became of the session, the request that needs it was not sent.
            error.maybe_done = False
            raise


def _next(cursor: str | None, next_cursor: str | None) -> str | None:
    if next_cursor is not None and next_cursor == cursor:
        raise UnexpectedResponse("the gateway's pages have no end")
    return next_cursor
