"""Redis killed, frozen, or unavailable from the start: slower at most, never wrong, never blocking."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY

from deploy.local.engines import Redis
from services.gateway import cache as cache_module
from services.gateway.cache import FAILURES_MAX, Cache, CacheUnavailable
from tests.integration.gateway.conftest import ApiClient, Open, eventually


@pytest.fixture
async def own_redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Redis]:
    """A Redis that a test may break."""
    engine = Redis(tmp_path_factory.mktemp("redis"))
    await engine.start()
    yield engine
    if engine.pid is not None:
        os.kill(engine.pid, signal.SIGCONT)
    engine.kill()


SLOW_SECONDS = 1.0
"""The deadline of Redis in tests that measure time: much longer than a request on a busy machine, so that waits are visible."""


@pytest.fixture
def waits_stand_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "RESPONSE_SECONDS", SLOW_SECONDS)


@pytest.fixture
async def api(open_client: Open, own_redis: Redis) -> AsyncIterator[ApiClient]:
    async with open_client(redis_url=own_redis.url) as opened:
        yield opened


def _freeze(engine: Redis) -> None:
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGSTOP)


def _unfreeze(engine: Redis) -> None:
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGCONT)


def _unavailable() -> float:
    return REGISTRY.get_sample_value("payflow_idempotency_total", {"result": "cache_unavailable"}) or 0.0


async def _send_all(api: ApiClient, token: str, keys: list[str]) -> tuple[list[str], float]:
    """Transfer ids, and how long the slowest took."""
    slowest = 0.0
    ids = []
    for key in keys:
        started = time.monotonic()
        response = await api.send(token, key)
        slowest = max(slowest, time.monotonic() - started)
        assert response.status == 202
        ids.append(response.json()["id"])
    return ids, slowest


async def test_killed_redis_changes_nothing(api: ApiClient, token: str, own_redis: Redis) -> None:
    """Guarantee 21: with Redis killed transfers are accepted and replays are replays."""
    keys = [f"k-{number}" for number in range(20)]
    first, _ = await _send_all(api, token, keys)
    own_redis.kill()

    again, _ = await _send_all(api, token, keys)
    new, _ = await _send_all(api, token, ["new-1", "new-2"])

    assert again == first
    assert len(set(new)) == 2
    assert len(api.fakes.transaction.transfers) == 22


async def test_redis_has_a_deadline_of_50_ms(own_redis: Redis) -> None:
    """Guarantee 21: a command to a frozen Redis fails after 50 ms; the fastest of three, on a busy machine."""
    cache = Cache(own_redis.url)
    await _answered(cache)
    _freeze(own_redis)
    waits = []
    for _ in range(FAILURES_MAX):
        started = time.monotonic()
        with pytest.raises(CacheUnavailable):
            await cache.run(("GET", "x"))
        waits.append(time.monotonic() - started)
    await cache.close()

    assert 0.05 == cache_module.RESPONSE_SECONDS
    assert 0.04 < min(waits) < 2


@pytest.mark.usefixtures("waits_stand_out")
async def test_frozen_redis_does_not_block(api: ApiClient, token: str, own_redis: Redis) -> None:
    """Guarantee 21: the first three calls wait, the rest do not; afterwards the cache is used again."""
    keys = [f"k-{number}" for number in range(20)]
    first, _ = await _send_all(api, token, keys)
    before = _unavailable()
    _freeze(own_redis)

    started = time.monotonic()
    again, _ = await _send_all(api, token, keys)
    await _send_all(api, token, keys)
    spent = time.monotonic() - started

    assert again == first
    assert spent < 2 * len(keys) / 2 * SLOW_SECONDS, "forty waits, one for each request"
    assert _unavailable() - before == 40

    _unfreeze(own_redis)
    calls = api.fakes.transaction.calls_to

    async def is_replayed_without_asking() -> bool:
        calls_before = len(calls("POST", "/internal/transfers"))
        await api.send(token, "k-1")
        return len(calls("POST", "/internal/transfers")) == calls_before

    await eventually(is_replayed_without_asking)


@pytest.mark.usefixtures("waits_stand_out")
async def test_concurrent_requests_do_not_queue_for_a_frozen_redis(
    api: ApiClient, token: str, own_redis: Redis
) -> None:
    """Guarantee 21: a hundred concurrent requests wait for a few round trips together, not one after the other."""
    await api.send(token, "warm")
    _freeze(own_redis)
    started = time.monotonic()

    responses = await asyncio.gather(*(api.send(token, f"k-{number}") for number in range(100)))

    assert {response.status for response in responses} == {202}
    assert time.monotonic() - started < 20 * SLOW_SECONDS


async def test_gateway_starts_without_redis(open_client: Open, own_redis: Redis, token: str) -> None:
    """Redis is not needed to be ready."""
    own_redis.kill()
    async with open_client(redis_url=own_redis.url, rate_limits="on") as api:
        assert (await api.send(token, "k-1")).status == 202
        assert (await api.send(token, "k-1")).headers["Idempotent-Replayed"] == "true"


async def test_limits_hold_without_redis(open_client: Open, own_redis: Redis) -> None:
    """Without Redis each gateway counts for itself: login is never unlimited."""
    own_redis.kill()
    async with open_client(redis_url=own_redis.url, rate_limits="on", rate_limit_login=120) as api:
        api.fakes.auth.responses["POST /internal/login"] = {}
        body = {"email": "a@example.com", "password": "wrong"}
        statuses = [(await api.call("POST", "/api/v1/auth/login", json=body)).status for _ in range(125)]

    assert statuses[:120] == [200] * 120
    assert set(statuses[120:]) == {429}


async def test_session_ends_within_a_second_without_redis(api: ApiClient, token: str, own_redis: Redis) -> None:
    """Guarantee 45: without wake-ups the list is still pulled."""
    own_redis.kill()
    api.fakes.auth.ended.append(_session_of(token))

    async def refused() -> bool:
        return (await api.call("GET", "/api/v1/wallets", token=token)).status == 401

    await eventually(refused)


async def test_circuit_opens_and_closes(own_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few failures no request waits; a probe in the background closes the circuit."""
    monkeypatch.setattr(cache_module, "PROBE_EVERY_SECONDS", 0.1)
    cache = Cache(own_redis.url)
    await _answered(cache)
    _freeze(own_redis)
    for _ in range(FAILURES_MAX):
        with pytest.raises(CacheUnavailable):
            await cache.run(("GET", "x"))
    started = time.monotonic()
    for _ in range(1000):
        with pytest.raises(CacheUnavailable):
            await cache.run(("GET", "x"))

    assert cache.is_open
    assert time.monotonic() - started < 1000 * cache_module.RESPONSE_SECONDS / 4, "a thousand waits"

    _unfreeze(own_redis)

    async def found() -> bool:
        try:
            return await cache.run(("GET", "x")) == [b"1"]
        except CacheUnavailable:
            return False

    await eventually(found)
    assert not cache.is_open
    await cache.close()


async def test_one_wrong_command_fails_alone(own_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Concurrent commands share a round trip; an error of one does not affect the others."""
    monkeypatch.setattr(cache_module, "RESPONSE_SECONDS", 10.0)
    cache = Cache(own_redis.url)
    await cache.run(("RPUSH", "list", "x"))

    responses = await asyncio.gather(
        cache.run(("GET", "nothing")), cache.run(("GET", "list")), cache.run(("PING",)), return_exceptions=True
    )

    assert responses[0] == [None]
    assert isinstance(responses[1], CacheUnavailable)
    assert responses[2] == [True]
    assert not cache.is_open
    await cache.close()


async def _answered(cache: Cache) -> None:
    """The cache has read `x`, which is 1."""

    async def is_answered() -> bool:
        try:
            return await cache.run(("SET", "x", "1"), ("GET", "x")) == [True, b"1"]
        except CacheUnavailable:
            return False

    await eventually(is_answered)


def _session_of(token: str) -> str:
    import jwt  # noqa: PLC0415

    return str(jwt.decode(token, options={"verify_signature": False})["sid"])
