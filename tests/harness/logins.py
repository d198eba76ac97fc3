"""A crowd that logs in.

`python -m tests.harness.logins BASE CROWD PASSWORD EMAIL...`: so many at once, each again as soon as they are in, or when they
were told to come back. Tells how often each answer was given: `200`, `503 too_many_logins`.
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

from tests.harness import crowds


def crowd(base: str, size: int, password: str, emails: list[str]) -> AbstractAsyncContextManager[dict[str, Any]]:
    """The crowd in a process of its own, beside what is done inside."""
    return crowds.beside("tests.harness.logins", base, str(size), password, *emails)


async def _log_in_again_and_again(base: str, size: int, password: str, turns: Iterator[str]) -> Counter[str]:
    answers: Counter[str] = Counter()
    ended = crowds.told_to_end()

    async def one(session: aiohttp.ClientSession) -> None:
        while not ended.done():
            shown = {"email": next(turns), "password": password}
            async with session.post(f"{base}/api/v1/auth/login", json=shown) as response:
                body = await response.json(content_type=None)
            answers[f"{response.status} {body['code']}" if "code" in body else str(response.status)] += 1
            if response.status == 503:
                await asyncio.wait([ended], timeout=float(response.headers["Retry-After"]))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        crowds.say_ready()
        await asyncio.gather(*(one(session) for _ in range(size)))
    return answers


if __name__ == "__main__":
    _base, _size, _password, *_emails = sys.argv[1:]
    crowds.tell(asyncio.run(_log_in_again_and_again(_base, int(_size), _password, itertools.cycle(_emails))))
