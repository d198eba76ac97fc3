"""Natural batching: whatever gathered while the previous batch was in flight goes together. No timer, no added delay.

One item alone leaves at once; under load the batches grow by themselves. A batch that fails as a whole is halved until the
bad item stands alone, so that it fails alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from services.chassis import halving, metrics
from services.contracts.refusal import Refusal

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Flush = Callable[[Sequence[Item]], Awaitable[Sequence["Answer | Refusal"]]]
"""Does a whole batch; answers item by item, in order. A Refusal is raised to the one caller whose item it answers."""


class Batcher(Generic[Item, Answer]):
    """Collects single submissions into calls of `flush`; at most `flights_max` calls at a time, `size_max` items each."""

    def __init__(
        self,
        name: str,
        flush: Flush[Item, Answer],
        *,
        size_max: int,
        flights_max: int = 1,
        is_whole: Callable[[Exception], bool] = lambda _error: False,
    ) -> None:
        """`is_whole` tells errors that no halving can cure (the other side is away): they go to every caller."""
        self._flush = flush
        self._size_max = size_max
        self._flights_max = flights_max
        self._is_whole = is_whole
        self._items = metrics.BATCH_ITEMS.labels(name)
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._flying = 0
        self._flights: set[asyncio.Task[None]] = set()

    async def submit(self, item: Item) -> Answer:
        """Hand over one item and wait for its own answer."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._flying < self._flights_max:
            self._take_off()
        return await future

    def _take_off(self) -> None:
        self._flying += 1
        flight = asyncio.create_task(self._fly())
        self._flights.add(flight)
        flight.add_done_callback(self._flights.discard)

    async def _fly(self) -> None:
        # One turn of the loop: everything that became ready together travels together.
        await asyncio.sleep(0)
        while self._waiting:
            count = min(len(self._waiting), self._size_max)
            batch = [self._waiting.popleft() for _ in range(count)]
            self._items.observe(count)
            try:
                await self._finalize(batch)
            except BaseException:
                # The flight itself was ended: nobody else would ever tell those who wait, or take off again.
                for _, future in batch:
                    future.cancel()
                self._flying -= 1
                raise
        # No await between the last look at the queue and this: an item handed over now finds a free flight.
        self._flying -= 1

    async def _finalize(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        await halving.run(batch, self._run, on_failure=lambda entry, error: _refuse(entry[1], error), raises=())

    async def _run(self, batch: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> list[None]:
        """Flush a batch or a part of one, and hand out its results at once: the other parts may take longer."""
        answers: Sequence[Answer | Exception]
        try:
            answers = await self._flush([item for item, _ in batch])
            assert len(answers) == len(batch), "a flush answers every item"
        except Exception as error:
            if not isinstance(error, Refusal) and not self._is_whole(error):
                raise
            answers = [error] * len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if isinstance(answer, Exception):
                _refuse(future, answer)
            elif not future.done():
                future.set_result(answer)
        return [None] * len(batch)


def _refuse(future: asyncio.Future[Answer], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
