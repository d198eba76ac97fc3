"""A crowd that logs in, in a process of its own: what it costs to be a crowd is not taken for what the door costs.

`python -m tests.harness.logins BASE CROWD PASSWORD EMAIL...`: so many at once, each again as soon as they are in, or when they
were told to come back; until standard input ends. Prints how often each answer was given, as JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp


@asynccontextmanager
async def crowd(base: str, size: int, password: str, emails: list[str]) -> AsyncIterator[Counter[str]]:
    """A crowd beside what is done inside; afterwards the counter holds what it was answered: `200`, `503 passwords_busy`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.harness.logins",
        base,
        str(size),
        password,
        *emails,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    answers: Counter[str] = Counter()
    try:
        assert b"ready\n" == await process.stdout.readline()
        yield answers
        told, _ = await process.communicate(b"")
        answers.update(json.loads(told))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _log_in_again_and_again(base: str, size: int, password: str, turns: Iterator[str]) -> Counter[str]:
    answers: Counter[str] = Counter()
    ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))

    async def one(session: aiohttp.ClientSession) -> None:
        while not ended.done():
            shown = {"email": next(turns), "password": password}
            async with session.post(f"{base}/api/v1/auth/login", json=shown) as response:
                body = await response.json(content_type=None)
            answers[f"{response.status} {body['code']}" if "code" in body else str(response.status)] += 1
            if response.status == 503:
                await asyncio.wait([ended], timeout=float(response.headers["Retry-After"]))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        print("ready", flush=True)
        await asyncio.gather(*(one(session) for _ in range(size)))
    return answers


if __name__ == "__main__":
    _base, _size, _password, *_emails = sys.argv[1:]
    _answers = asyncio.run(_log_in_again_and_again(_base, int(_size), _password, itertools.cycle(_emails)))
    print(json.dumps(_answers))
