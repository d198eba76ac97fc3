"""Idempotency keys: their format, the hash that identifies a request, and the responses cached in Redis.

The authority is a unique key in the transaction service's database. The cache only saves a call to it: Redis may be
unavailable, empty or wrong.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from multidict import CIMultiDictProxy
from pydantic import ValidationError

from services.contracts import limits
from services.gateway import metrics, schemas
from services.gateway.cache import Cache, CacheUnavailable
from services.gateway.errors import IdempotencyKeyInvalid, IdempotencyKeyMissing

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
CACHED_SECONDS = 24 * 3600
_VISIBLE = re.compile(rf"[\x21-\x7e]{{1,{limits.IDEMPOTENCY_KEY_LENGTH_MAX}}}")
_FINGERPRINT_LENGTH = 64
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode

_STORE = """
for i = 1, #KEYS do
    redis.call('SET', KEYS[i], ARGV[i + 1], 'EX', ARGV[1])
end
"""
"""One command for a whole batch: the client spends more time on a command than on its arguments."""


@dataclass(slots=True)
class KeyedRequest:
    """A request with an idempotency key: its user, its key, and the hash of its content.

    `cache_key` is where its response is cached. Clients choose their keys freely, so only the hash of a key is stored.
    """

    user_id: str
    key: str
    request_hash: str
    cache_key: str = field(init=False)

    def __post_init__(self) -> None:
        self.cache_key = f"payflow:response:{self.user_id}:{_digest(self.key)}"

    @property
    def fingerprint(self) -> bytes:
        """The beginning of the cached entry; an entry that begins otherwise belongs to another request."""
        return _digest(f"{self.user_id}\n{self.key}\n{self.request_hash}").encode()


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted transfer: its id, its body at acceptance, and whether this is a replay of an earlier response."""

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
    """SHA-256 of method, route pattern and body as sent, without nulls and with sorted members."""
    return hashlib.sha256(f"{method}\n{route}\n".encode() + _encode_canonical(sent)).hexdigest()


class ResponseCache:
    """The responses to accepted requests, cached for a day."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._writing: set[asyncio.Task[None]] = set()

    async def find_all(self, requests: Sequence[KeyedRequest]) -> list[Accepted | None]:
        """The cached responses. None if there is none, Redis is unavailable, or the entry is not valid for this request."""
        try:
            (entries,) = await self._cache.run(("MGET", *(request.cache_key for request in requests)))
        except CacheUnavailable:
            entries = None
        if not isinstance(entries, list) or len(entries) != len(requests):
            metrics.IDEMPOTENCY.labels("cache_unavailable").inc(len(requests))
            return [None] * len(requests)
        return [
            None if entry is None else _read(request, entry) for request, entry in zip(requests, entries, strict=True)
        ]

    def store(self, responses: Sequence[tuple[KeyedRequest, Accepted]]) -> None:
        """Cache these in the background: no response waits for it, and it may fail."""
        task = asyncio.create_task(self._store(responses))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def close(self) -> None:
        """Wait for unfinished writes."""
        await asyncio.gather(*self._writing)

    async def _store(self, responses: Sequence[tuple[KeyedRequest, Accepted]]) -> None:
        keys = [request.cache_key for request, _ in responses]
        entries = [request.fingerprint + accepted.body for request, accepted in responses]
        try:
            await self._cache.run(("EVAL", _STORE, len(keys), *keys, CACHED_SECONDS, *entries))
        except CacheUnavailable:
            return


def _read(request: KeyedRequest, entry: Any) -> Accepted | None:
    if not isinstance(entry, bytes) or entry[:_FINGERPRINT_LENGTH] != request.fingerprint:
        return None
    body = entry[_FINGERPRINT_LENGTH:]
    try:
        transfer = schemas.transfers.TRANSFER.validate_json(body)
    except ValidationError:
        return None
    return Accepted(str(transfer.id), body, replayed=True) if transfer.status == "PENDING" else None


def _encode_canonical(sent: Any) -> bytes:
    # The hash is stored permanently, so these bytes never change: orjson writes those of the standard library, except for floats,
    # which no request that moves money contains.
    try:
        text = orjson.dumps(sent, option=orjson.OPT_SORT_KEYS)
        return orjson.dumps(_without_nulls(sent), option=orjson.OPT_SORT_KEYS) if b"null" in text else text
    except TypeError:  # an integer beyond 64 bits
        return _canonical(_without_nulls(sent)).encode()


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_without_nulls(member) for member in value]
    return value


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
