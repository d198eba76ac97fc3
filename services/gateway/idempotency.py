"""The idempotency key: what it must look like, what a request is recognised by, and the finished answers kept in Redis.

The truth is a unique key in the transaction service's database. What stands here only saves it the question: Redis may
be away, empty or lying.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from multidict import CIMultiDictProxy
from pydantic import ValidationError

from services.gateway import metrics, schemas
from services.gateway.cache import Cache, CacheUnavailable
from services.gateway.errors import IdempotencyKeyInvalid, IdempotencyKeyMissing

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
KEEP_SECONDS = 24 * 3600

_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}")
_SEAL_LENGTH = 64
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


@dataclass(frozen=True)
class Question:
    """One request with a key: whose it is, and what was asked by it."""

    user_id: str
    key: str
    request_hash: str

    @cached_property
    def place(self) -> str:
        """Where its finished answer is kept. Keys are people's own words: only their hash is stored."""
        return f"payflow:answer:{self.user_id}:{_digest(self.key)}"

    @cached_property
    def seal(self) -> bytes:
        """What an entry must begin with to be the answer to this question and to no other."""
        return _digest(f"{self.user_id}\n{self.key}\n{self.request_hash}").encode()


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer of the accepting commit: the transfer's id, its body as it was then, and whether it was given before."""

    transfer_id: str
    body: bytes
    replayed: bool


def read_key(headers: CIMultiDictProxy[str]) -> str:
    """The key exactly as it was sent.

    Raises:
        IdempotencyKeyMissing, IdempotencyKeyInvalid
    """
    values = headers.getall(HEADER, ())
    if not values:
        raise IdempotencyKeyMissing
    if len(values) > 1 or not _VISIBLE.fullmatch(values[0]):
        raise IdempotencyKeyInvalid
    return values[0]


def hash_request(method: str, route: str, sent: Any) -> str:
    """SHA-256 over method, route pattern and what the client sent: nulls dropped, members sorted, everything else as it is."""
    return _digest(f"{method}\n{route}\n{_canonical(_without_nulls(sent))}")


class FinishedAnswers:
    """Answers of accepting commits, kept for a day."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._writing: set[asyncio.Task[None]] = set()

    async def find(self, question: Question) -> Accepted | None:
        """The answer given before. None when there is none, when Redis is away, and when the entry is not ours to believe."""
        try:
            (entry,) = await self._cache.run(("GET", question.place))
        except CacheUnavailable:
            metrics.IDEMPOTENCY.labels("cache_unavailable").inc()
            return None
        return None if entry is None else _read(question, entry)

    def keep(self, answers: Sequence[tuple[Question, Accepted]]) -> None:
        """Keep these, aside: no answer waits for it, and it may fail."""
        task = asyncio.create_task(self._keep(answers))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def close(self) -> None:
        """Wait for what is being kept."""
        await asyncio.gather(*self._writing)

    async def _keep(self, answers: Sequence[tuple[Question, Accepted]]) -> None:
        commands = [
            ("SET", question.place, question.seal + accepted.body, "EX", KEEP_SECONDS) for question, accepted in answers
        ]
        try:
            await self._cache.run(*commands)
        except CacheUnavailable:
            return


def _read(question: Question, entry: Any) -> Accepted | None:
    if not isinstance(entry, bytes) or entry[:_SEAL_LENGTH] != question.seal:
        return None
    body = entry[_SEAL_LENGTH:]
    try:
        transfer = schemas.transfers.TRANSFER.validate_json(body)
    except ValidationError:
        return None
    return Accepted(str(transfer.id), body, replayed=True) if transfer.status == "PENDING" else None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_without_nulls(member) for member in value]
    return value


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
