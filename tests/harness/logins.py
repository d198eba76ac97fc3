"""Concurrent logins.

`python -m tests.harness.logins BASE SIZE PASSWORD EMAIL...` runs SIZE clients that log in repeatedly and honour Retry-After.
It reports the number of each response: `200`, `503 too_many_logins`.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp

from tests.harness import load_process


def running(base: str, size: int, password: str, emails: list[str]) -> AbstractAsyncContextManager[dict[str, Any]]:
    """Run concurrent logins in a separate process during the block."""
    return load_process.running("tests.harness.logins", base, str(size), password, *emails)


async def _run(base: str, size: int, password: str, turns: Iterator[str]) -> Counter[str]:
    responses: Counter[str] = Counter()
    ended = load_process.stop_requested()

    async def one(session: aiohttp.ClientSession) -> None:
        while not ended.done():
            login = {"email": next(turns), "password": password}
            async with session.post(f"{base}/api/v1/auth/login", json=login) as response:
                body = await response.json(content_type=None)
            responses[f"{response.status} {body['code']}" if "code" in body else str(response.status)] += 1
            if response.status == 503:
                await asyncio.wait([ended], timeout=float(response.headers["Retry-After"]))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        load_process.report_ready()
        await asyncio.gather(*(one(session) for _ in range(size)))
    return responses


if __name__ == "__main__":
    _base, _size, _password, *_emails = sys.argv[1:]
    load_process.report(asyncio.run(_run(_base, int(_size), _password, itertools.cycle(_emails))))
