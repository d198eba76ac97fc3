"""Natural batching: waiting items form the next batch, and a bad item fails alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from services.chassis import metrics
from services.chassis.batching import Batcher
from services.contracts.refusal import Refusal, Unavailable


async def test_items_that_wait_form_the_next_batch() -> None:
    """The first item is processed at once, alone; all that arrive meanwhile form the next batch."""
    batches: list[list[int]] = []
    finished = asyncio.Event()

    async def flush(items: Sequence[int]) -> list[int]:
        batches.append(list(items))
        await finished.wait()
        return [item * 10 for item in items]

    batcher: Batcher[int, int] = Batcher("test", flush, size_max=100)
    first = asyncio.create_task(batcher.submit(1))
    while not batches:
        await asyncio.sleep(0)
    rest = [asyncio.create_task(batcher.submit(n)) for n in range(2, 6)]
    await asyncio.sleep(0)
    finished.set()

    assert [10, 20, 30, 40, 50] == await asyncio.gather(first, *rest)
    assert [[1], [2, 3, 4, 5]] == batches


async def test_a_bad_item_fails_alone() -> None:
    """A batch that fails as a whole is halved until only the bad item is left with the error."""

    async def flush(items: Sequence[int]) -> list[int]:
        if 13 in items:
            raise ZeroDivisionError
        return list(items)

    batcher: Batcher[int, int] = Batcher("test", flush, size_max=100)
    results = await asyncio.gather(*(batcher.submit(n) for n in range(32)), return_exceptions=True)

    assert [n for n in range(32) if n != 13] == [r for r in results if isinstance(r, int)]
    assert isinstance(results[13], ZeroDivisionError)


async def test_a_refusal_concerns_one_item() -> None:
    """A result may be a refusal; it is raised to its own caller only."""

    async def flush(items: Sequence[int]) -> list[int | Refusal]:
        return [Unavailable() if item == 2 else item for item in items]

    batcher: Batcher[int, int] = Batcher("test", flush, size_max=100)
    results = await asyncio.gather(*(batcher.submit(n) for n in (1, 2, 3)), return_exceptions=True)

    assert [1, 3] == [results[0], results[2]]
    assert isinstance(results[1], Unavailable)


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_no_item_is_left_waiting(concurrency: int) -> None:
    """However submissions and batches interleave, every item gets its result."""

    async def flush(items: Sequence[int]) -> list[int]:
        await asyncio.sleep(0)
        return list(items)

    batcher: Batcher[int, int] = Batcher("test", flush, size_max=3, concurrency_max=concurrency)

    async def submit(n: int) -> int:
        for _ in range(n % 7):
            await asyncio.sleep(0)
        return await batcher.submit(n)

    async with asyncio.timeout(30):
        assert list(range(300)) == await asyncio.gather(*(submit(n) for n in range(300)))


async def test_cancelled_batches_leave_no_caller_waiting() -> None:
    """The callers of a cancelled batch are cancelled, and the next item starts a new one."""
    ends = [True]

    async def flush(items: Sequence[int]) -> list[int]:
        if ends.pop():
            raise asyncio.CancelledError
        return list(items)

    batcher: Batcher[int, int] = Batcher("test", flush, size_max=100)
    async with asyncio.timeout(30):
        with pytest.raises(asyncio.CancelledError):
            await batcher.submit(1)
        ends.append(False)

        assert 2 == await batcher.submit(2)


async def gathered(*, size_max: int, concurrency_max: int, items: int) -> tuple[list[int], int]:
    """Submit items at once; the sizes of the batches, and how many of them ran concurrently."""
    sizes: list[int] = []
    running = most = 0

    async def flush(batch: Sequence[int]) -> list[int]:
        nonlocal running, most
        sizes.append(len(batch))
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        return list(batch)

    batcher: Batcher[int, int] = Batcher("sizes", flush, size_max=size_max, concurrency_max=concurrency_max)
    assert list(range(items)) == await asyncio.gather(*(batcher.submit(n) for n in range(items)))
    return sizes, most


@pytest.mark.parametrize(
    ("size_max", "concurrency_max", "sizes", "most"),
    [(4, 1, [4, 4, 2], 1), (4, 2, [4, 4, 2], 2), (10, 3, [10], 1), (100, 1, [10], 1)],
)
async def test_batches_and_concurrency_are_bounded(
    size_max: int, concurrency_max: int, sizes: list[int], most: int
) -> None:
    """Ten items at once: the size and number of batches stay within their bounds, and each batch is counted with its size."""
    before = counted()

    assert (sizes, most) == await gathered(size_max=size_max, concurrency_max=concurrency_max, items=10)

    assert (len(sizes), 10) == tuple(now - then for now, then in zip(counted(), before, strict=True))


def counted() -> tuple[float, float]:
    """The number of batches counted, and of items."""
    histogram = metrics.BATCH_ITEMS.labels("sizes")
    return sum(bucket.get() for bucket in histogram._buckets), histogram._sum.get()


async def test_errors_that_concern_all_items_are_not_halved() -> None:
    """A refusal of the whole batch, or an error that concerns all items, goes to every caller after one call."""
    calls = 0

    async def refuse(_items: Sequence[int]) -> list[int]:
        nonlocal calls
        calls += 1
        raise Unavailable if calls == 1 else ConnectionError

    batcher: Batcher[int, int] = Batcher(
        "test", refuse, size_max=100, concerns_all=lambda error: isinstance(error, ConnectionError)
    )  # fmt: skip
    refused = await asyncio.gather(*(batcher.submit(n) for n in range(5)), return_exceptions=True)
    unavailable = await asyncio.gather(*(batcher.submit(n) for n in range(5)), return_exceptions=True)

    assert [Unavailable] * 5 == [type(one) for one in refused]
    assert ([ConnectionError] * 5, 2) == ([type(one) for one in unavailable], calls)


async def test_items_without_a_result_are_passed_on() -> None:
    """Items without a result go to the next batcher, and its results to their callers; one that has left is skipped."""
    passed_on: list[int] = []
    may_end = asyncio.Event()

    async def double(items: Sequence[int]) -> list[int]:
        passed_on.extend(items)
        return [2 * item for item in items]

    async def find_even(items: Sequence[int]) -> list[int | None]:
        await may_end.wait()
        return [item if item % 2 == 0 else None for item in items]

    after: Batcher[int, int] = Batcher("test", double, size_max=100)
    first: Batcher[int, int] = Batcher("test", find_even, size_max=100, then=after)
    callers = [asyncio.create_task(first.submit(number)) for number in range(6)]
    await asyncio.sleep(0)
    callers[1].cancel()
    await asyncio.wait([callers[1]])
    may_end.set()

    assert [0, 2, 6, 4, 10] == [await caller for caller in callers if not caller.cancelled()]
    assert [3, 5] == passed_on
