"""Natural batching: items that arrive while the previous batch is in flight form the next one. No timer, no added delay.

A single item is processed at once; under load the batches grow. A batch that fails as a whole is halved until the bad item is
alone, so that it fails alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from services.chassis import halving, metrics
from services.contracts.refusal import Refusal

Item = TypeVar("Item")
Result = TypeVar("Result")
Flush = Callable[[Sequence[Item]], Awaitable[Sequence["Result | Refusal | None"]]]
"""Processes a batch; returns one result per item, in order. A Refusal is raised to the caller of its item."""


class Batcher(Generic[Item, Result]):
    """Collects items into calls of `flush`: at most `concurrency_max` calls at a time, each with at most `size_max` items."""

    def __init__(
        self,
        name: str,
        flush: Flush[Item, Result],
        *,
        size_max: int,
        concurrency_max: int = 1,
        concerns_all: Callable[[Exception], bool] = lambda _error: False,
        then: Batcher[Item, Result] | None = None,
    ) -> None:
        """`concerns_all` recognises errors that concern no single item (an upstream is unavailable): every caller gets them.

        `then` takes over the items for which `flush` returns None; their callers get its results.
        """
        self._flush = flush
        self._size_max = size_max
        self._concurrency_max = concurrency_max
        self._concerns_all = concerns_all
        self._then = then
        self._items = metrics.BATCH_ITEMS.labels(name)
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._running = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, item: Item) -> Result:
        """Submit one item and wait for its result."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.put(item, future)
        return await future

    def put(self, item: Item, future: asyncio.Future[Result]) -> None:
        """Submit one item; its result is set on `future`, unless that is done by then."""
        self._waiting.append((item, future))
        if self._running < self._concurrency_max:
            self._start()

    def _start(self) -> None:
        self._running += 1
        task = asyncio.create_task(self._flush_all())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _flush_all(self) -> None:
        # One iteration of the loop: items that became ready together form one batch.
        await asyncio.sleep(0)
        while self._waiting:
            count = min(len(self._waiting), self._size_max)
            batch = [self._waiting.popleft() for _ in range(count)]
            self._items.observe(count)
            try:
                await self._flush_batch(batch)
            except BaseException:
                # This task was cancelled: without this its callers would wait forever, and no new task would start.
                for _, future in batch:
                    future.cancel()
                self._running -= 1
                raise
        # No await since the queue was seen empty: an item submitted from now on starts a new task.
        self._running -= 1

    async def _flush_batch(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        await halving.run(batch, self._flush_part, on_failure=lambda entry, error: _refuse(entry[1], error), raises=())

    async def _flush_part(self, batch: Sequence[tuple[Item, asyncio.Future[Result]]]) -> list[None]:
        """Flush a batch or a part of one, and return the results to their callers at once: other parts may take longer."""
        results: Sequence[Any]
        try:
            results = await self._flush([item for item, _ in batch])
            assert len(results) == len(batch), "a flush returns one result per item"
        except Exception as error:
            if not isinstance(error, Refusal) and not self._concerns_all(error):
                raise
            results = [error] * len(batch)
        for (item, future), result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                _refuse(future, result)
            elif future.done():
                continue
            elif result is None and self._then is not None:
                self._then.put(item, future)
            else:
                future.set_result(result)
        return [None] * len(batch)


def _refuse(future: asyncio.Future[Result], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
