"""Halving: a batch that fails as a whole is split until the bad item is alone, so that it fails alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def run(
    batch: Sequence[Item],
    process: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
    *,
    on_failure: Callable[[Item, Exception], Result],
    raises: tuple[type[Exception], ...],
) -> list[Result]:
    """Process a batch, and one half after the other where it fails; one result per item, in order.

    `on_failure` makes the result of an item that fails alone. Errors of the types `raises` are raised at once: they are not the
    fault of an item.
    """
    try:
        return list(await process(batch))
    except raises:
        raise
    except Exception as error:  # noqa: BLE001 - it belongs to one item of the batch
        if len(batch) == 1:
            return [on_failure(batch[0], error)]
        middle = len(batch) // 2
        return [
            result
            for half in (batch[:middle], batch[middle:])
            for result in await run(half, process, on_failure=on_failure, raises=raises)
        ]
