"""Natural batching: what gathers travels together, and a bad item fails alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from services.chassis.batching import Batcher
from services.contracts.refusal import Refusal, Unavailable


async def test_what_gathers_during_a_flight_travels_together() -> None:
    """The first item leaves at once, alone; all that arrive while it flies make the next batch."""
    batches: list[list[int]] = []
    landed = asyncio.Event()

    async def flush(items: Sequence[int]) -> list[int]:
        batches.append(list(items))
        await landed.wait()
        return [item * 10 for item in items]

    batcher: Batcher[int, int] = Batcher("test", flush, size_max=100)
    first = asyncio.create_task(batcher.submit(1))
    while not batches:
        await asyncio.sleep(0)
    rest = [asyncio.create_task(batcher.submit(n)) for n in range(2, 6)]
    await asyncio.sleep(0)
    landed.set()

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


async def test_a_refusal_answers_one_item() -> None:
    """An answer may be a refusal; it is raised to its own caller only."""

    async def flush(items: Sequence[int]) -> list[int | Refusal]:
        return [Unavailable() if item == 2 else item for item in items]

    batcher: Batcher[int, int] = Batcher("test", flush, size_max=100)
    results = await asyncio.gather(*(batcher.submit(n) for n in (1, 2, 3)), return_exceptions=True)

    assert [1, 3] == [results[0], results[2]]
    assert isinstance(results[1], Unavailable)


@pytest.mark.parametrize("flights", [1, 2])
async def test_nothing_is_left_behind(flights: int) -> None:
    """However submissions and landings interleave, every item is answered."""

    async def flush(items: Sequence[int]) -> list[int]:
        await asyncio.sleep(0)
        return list(items)

    batcher: Batcher[int, int] = Batcher("test", flush, size_max=3, flights_max=flights)

    async def submit(n: int) -> int:
        for _ in range(n % 7):
            await asyncio.sleep(0)
        return await batcher.submit(n)

    async with asyncio.timeout(30):
        assert list(range(300)) == await asyncio.gather(*(submit(n) for n in range(300)))


async def test_nobody_waits_for_a_flight_that_was_ended() -> None:
    """A flight that is cancelled leaves nobody waiting for its answer, and the next item takes off again."""
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
