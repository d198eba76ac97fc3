"""Live events at the gateway: real sockets and a real Redis, a fake notification service."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis as Client

from services.chassis.metrics import HTTP_SECONDS
from services.gateway import live, metrics, wakeup
from services.gateway.api import events as events_api
from services.gateway.event_stream import LAST_EVENT_ID
from tests.harness import events
from tests.harness.events import Event, Reader
from tests.integration.gateway.conftest import ApiClient, FakeServices, Open, eventually

PATH = events.PATH


@pytest.fixture(autouse=True)
async def _no_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that arrive in time in these tests arrive by wake-up, unless a test states otherwise."""
    monkeypatch.setattr(live, "POLL_SECONDS", 60.0)


def listening(api: ApiClient, token: str, *, after: int | None = None) -> Any:
    return events.listening(api.session, api.url, token, after=after)


def texts(received: list[Event]) -> list[str]:
    return [event.data["text"] for event in received]


async def add_events(api: ApiClient, redis_client: Client, user_id: str, *lines: str) -> None:
    """Events in a user's feed, and the wake-up."""
    api.fakes.notification.add_events(user_id, *lines)
    await redis_client.publish(wakeup.EVENTS, f"another-user,{user_id}")


async def is_subscribed(redis_client: Client) -> None:
    """Wait until the gateway has subscribed to wake-ups."""

    async def subscribed() -> bool:
        [(_, count)] = await redis_client.pubsub_numsub(wakeup.EVENTS)
        return bool(count)

    await eventually(subscribed)


async def test_a_stream_of_new_events(api: ApiClient, redis_client: Client, token: str, user_id: str) -> None:
    """Without an id it starts with the next event, sends its position at once, and has the headers that proxies need."""
    api.fakes.notification.add_events(user_id, "old")
    await is_subscribed(redis_client)
    async with listening(api, token) as reader:
        headers = reader.response.headers
        await add_events(api, redis_client, user_id, "new", "newer")
        received = await reader.take(2)

    assert [2, 3] == [event.id for event in received]
    assert ["new", "newer"] == texts(received)
    assert 2000 == reader.retry
    assert "text/event-stream" == reader.response.content_type
    assert ("no-store", "no") == (headers["Cache-Control"], headers["X-Accel-Buffering"])
    assert "Content-Encoding" not in headers
    assert "X-Request-Id" in headers
    assert "X-Content-Type-Options" in headers


async def test_the_position_is_sent_first(api: ApiClient, token: str, user_id: str) -> None:
    """A client that is disconnected before its first event can still resume."""
    api.fakes.notification.add_events(user_id, "one", "two")
    async with listening(api, token) as reader:
        async with asyncio.timeout(30):
            while reader.last_id is None:
                await reader._block()

    assert 2 == reader.last_id


@pytest.mark.parametrize("after", [0, 1, 99, 100])
async def test_resuming(api: ApiClient, redis_client: Client, token: str, user_id: str, after: int) -> None:
    """With an id every later event is sent, in order, once; then new events."""
    lines = [str(number) for number in range(1, 101)]
    api.fakes.notification.add_events(user_id, *lines)
    await is_subscribed(redis_client)
    async with listening(api, token, after=after) as reader:
        missed = await reader.take(100 - after)
        await add_events(api, redis_client, user_id, "101")
        live_event = await reader.next()

    assert lines[after:] == texts(missed)
    assert (101, "101") == (live_event.id, live_event.data["text"])


async def test_resuming_loses_and_repeats_nothing(
    api: ApiClient, redis_client: Client, token: str, user_id: str
) -> None:
    """While clients resume, new events arrive: each client gets each event once, in order."""
    await is_subscribed(redis_client)
    count = 120

    async def adding() -> None:
        for number in range(1, count + 1):
            await add_events(api, redis_client, user_id, str(number))
            await asyncio.sleep(0.001)

    async def following() -> list[int | None]:
        received: list[int | None] = []
        while len(received) < count:
            async with listening(api, token, after=len(received)) as reader:
                received += [event.id for event in await reader.take(min(7, count - len(received)))]
        return received

    added, *followed = await asyncio.gather(adding(), *(following() for _ in range(5)))

    assert added is None
    assert [list(range(1, count + 1))] * 5 == followed


async def test_without_the_wakeup(open_client: Open, token: str, user_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While Redis is unavailable an event is sent with the next poll."""
    monkeypatch.setattr(live, "POLL_SECONDS", 0.2)
    async with (
        open_client(redis_url="redis://:unavailable-redis@127.0.0.1:1/0") as api,
        listening(api, token) as reader,
    ):
        api.fakes.notification.add_events(user_id, "one")

        assert 1 == (await reader.next()).id


async def test_invalid_wakeups(api: ApiClient, redis_client: Client, token: str, user_id: str) -> None:
    """Invalid wake-ups change nothing and cause no reads; a valid one after them works."""
    await is_subscribed(redis_client)
    async with listening(api, token) as reader:
        await reader._block()
        calls_before = len(api.fakes.notification.calls)
        for message in (b"\xff\x00" * 1000, b",,,,", b"{}", b"0" * 100_000, user_id.encode()[:-1]):
            await redis_client.publish(wakeup.EVENTS, message)
        for _ in range(200):
            await redis_client.publish(wakeup.EVENTS, b"*")
        await add_events(api, redis_client, user_id, "true")

        assert "true" == (await reader.next()).data["text"]
        assert len(api.fakes.notification.calls) - calls_before < 50


@pytest.mark.parametrize(
    ("after", "reason"), [(0, "too_old"), (4, "too_old"), (11, "unknown_id"), (2**63 - 1, "unknown_id")]
)
async def test_reset(  # noqa: PLR0917 - fixtures
    api: ApiClient, redis_client: Client, token: str, user_id: str, after: int, reason: str
) -> None:
    """If a feed cannot be resumed the client gets `reset` and continues at the current end of the feed."""
    await is_subscribed(redis_client)
    api.fakes.notification.add_events(user_id, *map(str, range(1, 11)))
    api.fakes.notification.pruned[user_id] = 5
    async with listening(api, token, after=after) as reader:
        reset = await reader.next()
        await add_events(api, redis_client, user_id, "11")
        following = await reader.next()

    assert Event(10, "reset", {"reason": reason}) == reset
    assert (11, "11") == (following.id, following.data["text"])


async def test_the_oldest_kept_event_can_be_resumed(api: ApiClient, token: str, user_id: str) -> None:
    """A client with the last event before the oldest kept one has missed nothing."""
    api.fakes.notification.add_events(user_id, *map(str, range(1, 11)))
    api.fakes.notification.pruned[user_id] = 5
    async with listening(api, token, after=5) as reader:
        assert [6, 7, 8, 9, 10] == [event.id for event in await reader.take(5)]


@pytest.mark.parametrize("given", [["x"], [""], ["-1"], ["1", "2"], ["9" * 30]])
async def test_malformed_id(api: ApiClient, token: str, given: list[str]) -> None:
    """An invalid id is refused, naming the field."""
    headers = [("Authorization", f"Bearer {token}"), *((LAST_EVENT_ID, text) for text in given)]
    async with api.session.get(api.url + PATH, headers=headers) as response:
        problem = await response.json(content_type=None)

    assert (422, "invalid_request") == (response.status, problem["code"])
    assert [LAST_EVENT_ID] == [error["field"] for error in problem["errors"]]


async def test_a_stream_requires_a_bearer_token(api: ApiClient, token: str) -> None:
    """Only the bearer header counts: a token in the URL is ignored, and a stream requires one."""
    anonymous = await api.call("GET", PATH)
    in_url = await api.call("GET", f"{PATH}?access_token={token}")
    both = await api.call("GET", f"{PATH}?access_token={token}", token=token)

    assert (401, 401, 422) == (anonymous.status, in_url.status, both.status)


async def test_head(api: ApiClient, token: str) -> None:
    """HEAD returns at once."""
    response = await api.call("HEAD", PATH, token=token)

    assert (200, "text/event-stream; charset=utf-8", b"") == (
        response.status, response.headers["Content-Type"], response.body,
    )  # fmt: skip


async def test_users_get_their_own_events(api: ApiClient, redis_client: Client, token: str, user_id: str) -> None:
    """Users share the loop and the call, and nothing else; two streams of one user get the same events."""
    other_id, other_token = "11111111-1111-7111-8111-111111111111", ""
    other_token = api.fakes.auth.token(sub=other_id)
    await is_subscribed(redis_client)
    async with listening(api, token) as one, listening(api, token) as same, listening(api, other_token) as other:
        api.fakes.notification.add_events(other_id, "for the other")
        await add_events(api, redis_client, user_id, "for the one")
        await redis_client.publish(wakeup.EVENTS, other_id)
        received = [await reader.next() for reader in (one, same, other)]

    assert ["for the one", "for the one", "for the other"] == texts(received)


async def test_token_expires(api: ApiClient, fakes: FakeServices, user_id: str) -> None:
    """The stream ends with the token, names the reason, and keeps the client's position."""
    token = fakes.auth.token(sub=user_id, exp=int(time.time()) + 2)
    fakes.notification.add_events(user_id, "one")
    async with listening(api, token, after=0) as reader:
        received = await reader.remaining()

    assert [(1, "notification"), (None, "token_expired")] == [(event.id, event.type) for event in received]
    assert 1 == reader.last_id


@pytest.mark.parametrize("with_wakeup", [True, False])
async def test_session_ends(
    api: ApiClient, fakes: FakeServices, redis_client: Client, user_id: str, with_wakeup: bool
) -> None:
    """When the session ends, with or without a wake-up, its streams end within a second or two, and no other user's."""
    session_id = "22222222-2222-7222-8222-222222222222"
    token, other = fakes.auth.token(sub=user_id, sid=session_id), fakes.auth.token()
    async with listening(api, token) as reader, listening(api, other) as stays:
        await reader._block()
        fakes.auth.ended.append(session_id)
        if with_wakeup:
            await redis_client.publish(wakeup.REVOCATIONS, "notify")
        began = time.monotonic()
        received = await reader.remaining()
        took = time.monotonic() - began
        await stays._block()

        assert ["session_ended"] == [event.type for event in received]
        assert took < 20, "the token is valid for ten minutes"
        assert not stays.response.content.at_eof()


async def test_shutdown_ends_streams(open_client: Open, token: str) -> None:
    """At shutdown a gateway ends its streams with the reason, and does not wait for them."""
    async with open_client() as api, AsyncExitStack() as stack:
        readers: list[Reader] = [await stack.enter_async_context(listening(api, token)) for _ in range(5)]
        began = time.monotonic()
        api.runtime.stopping.set()
        received = [await reader.remaining() for reader in readers]

    assert [["server_draining"]] * 5 == [[event.type for event in each] for each in received]
    assert time.monotonic() - began < 20


async def test_too_many_streams(open_client: Open, token: str, fakes: FakeServices) -> None:
    """A user has ten streams at a gateway, and a gateway has a maximum: beyond that 429 and 503 with `Retry-After`."""
    async with open_client(streams_max=11) as api, AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(listening(api, token))
        own = await api.call("GET", PATH, token=token)
        await stack.enter_async_context(listening(api, fakes.auth.token()))
        full = await api.call("GET", PATH, token=fakes.auth.token())

        assert (429, "too_many_streams") == (own.status, own.json()["code"])
        assert (503, "no_stream_left") == (full.status, full.json()["code"])
        assert ["5", "5"] == [response.headers["Retry-After"] for response in (own, full)]
        assert 11 == metrics.STREAMS._value.get()
    assert 0 == metrics.STREAMS._value.get()


async def test_broken_connections_free_their_slots(api: ApiClient, token: str) -> None:
    """A broken connection does not count, even if nothing was written to it since."""
    for _ in range(4):
        async with aiohttp.ClientSession() as session, AsyncExitStack() as stack:
            for _ in range(10):

                async def opens() -> bool:
                    try:
                        await stack.enter_async_context(events.listening(session, api.url, token))
                    except AssertionError:
                        return False
                    return True

                await eventually(opens)


async def test_notification_unavailable(api: ApiClient, token: str, user_id: str, redis_client: Client) -> None:
    """A new stream without a position gets 503; a resumed one connects and gets all events when the service is back."""
    await is_subscribed(redis_client)
    await api.fakes.notification.stop()
    refused = await api.call("GET", PATH, token=token)
    async with listening(api, token, after=0) as reader:
        api.fakes.notification.add_events(user_id, "one", "two")
        await api.fakes.notification.start()
        await redis_client.publish(wakeup.EVENTS, user_id)

        assert ["one", "two"] == texts(await reader.take(2))
    assert (503, "upstream_unavailable") == (refused.status, refused.json()["code"])
    assert "Retry-After" in refused.headers


async def test_a_stream_without_a_position_fails_early(
    api: ApiClient, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the notification service does not respond, a stream without a position gets 503 before the call times out."""
    monkeypatch.setattr(live, "CALL_SECONDS", 60.0)
    api.fakes.notification.silent_at = "/internal/events"
    began = time.monotonic()
    refused = await api.call("GET", PATH, token=token)
    took = time.monotonic() - began
    api.fakes.notification.silent_at = None

    assert (503, "upstream_unavailable", "1") == (
        refused.status,
        refused.json()["code"],
        refused.headers["Retry-After"],
    )
    assert took < live.CALL_SECONDS / 2
    assert live.POSITION_SECONDS < 2


async def test_heartbeat(api: ApiClient, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without events, a comment is sent periodically."""
    monkeypatch.setattr(events_api, "HEARTBEAT_SECONDS", 0.05)
    async with listening(api, token) as reader, asyncio.timeout(30):
        while reader.comments < 3:
            await reader._block()


async def test_a_client_that_does_not_read(
    api: ApiClient, token: str, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is disconnected and counted, its buffer is bounded, and it can resume without a loss."""
    monkeypatch.setattr(events_api, "WRITE_SECONDS", 0.3)
    monkeypatch.setattr(live, "PAUSE_SECONDS", 0.0)
    api.fakes.notification.add_events(user_id, *("x" * 20_000 for _ in range(1000)))
    cut_off = metrics.STREAMS_ENDED.labels("too_slow")
    before = cut_off._value.get()

    async def is_cut_off() -> bool:
        return bool(cut_off._value.get() > before)

    async with listening(api, token, after=0) as reader:
        await eventually(is_cut_off)
        received = await reader.remaining()
    ids = [event.id for event in received]

    assert 0 < len(ids) < 1000
    assert list(range(1, len(ids) + 1)) == ids
    async with listening(api, token, after=reader.last_id) as again:
        assert len(ids) + 1 == (await again.next()).id


async def test_a_stream_is_not_measured_as_a_slow_request(
    api: ApiClient, token: str, user_id: str, redis_client: Client
) -> None:
    """The time until a stream starts is measured, not its duration."""
    await is_subscribed(redis_client)
    series = HTTP_SECONDS.labels("gateway", PATH, "GET", 200)
    before = series._sum.get()
    async with listening(api, token) as reader:
        await reader._block()
        await asyncio.sleep(0.4)
    await redis_client.publish(wakeup.EVENTS, user_id)

    async def measured() -> bool:
        return bool(series._sum.get() > before)

    await eventually(measured)
    assert series._sum.get() - before < 0.35
