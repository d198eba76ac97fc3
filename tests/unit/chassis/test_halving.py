"""A batch that fails as a whole is halved until the bad item is alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.chassis import halving


def _fail(item: int, error: Exception) -> str:
    return f"{item} {type(error).__name__}"


async def test_a_good_batch_is_processed_once() -> None:
    """Nothing is split, and an empty batch is a batch."""
    calls: list[list[int]] = []

    async def process(items: Sequence[int]) -> list[str]:
        calls.append(list(items))
        return [str(item) for item in items]

    assert await halving.run([1, 2, 3], process, on_failure=_fail, raises=()) == ["1", "2", "3"]
    assert await halving.run([], process, on_failure=_fail, raises=()) == []
    assert calls == [[1, 2, 3], []]


@pytest.mark.parametrize("bad", [{0}, {6}, {3, 4}, set(range(7))])
async def test_bad_items_fail_alone(bad: set[int]) -> None:
    """Each bad item has its own error; every other one its result, in order."""

    async def process(items: Sequence[int]) -> list[str]:
        if bad & set(items):
            raise ZeroDivisionError
        return [str(item) for item in items]

    results = await halving.run(list(range(7)), process, on_failure=_fail, raises=())

    assert [f"{n} ZeroDivisionError" if n in bad else str(n) for n in range(7)] == results


async def test_errors_that_concern_no_item_end_the_run() -> None:
    """Nothing is split, and no further half is processed."""
    calls: list[list[int]] = []

    async def process(items: Sequence[int]) -> list[str]:
        calls.append(list(items))
        raise ConnectionError if items == [1, 2] else ZeroDivisionError

    with pytest.raises(ConnectionError):
        await halving.run([1, 2, 3, 4], process, on_failure=_fail, raises=(ConnectionError,))

    assert calls == [[1, 2, 3, 4], [1, 2]]
