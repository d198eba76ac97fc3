"""`python -m tests.harness.relay_process URL`: a relay of this database whose messages are confirmed and dropped."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from services.chassis.broker import OutgoingMessage, Publisher, PublishFailed
from services.chassis.database import open_pool
from services.chassis.outbox import Relay
from services.chassis.roles import Runtime


class ConfirmingPublisher(Publisher):
    """Confirms everything."""

    async def publish(self, messages: Sequence[OutgoingMessage]) -> list[PublishFailed | None]:
        return [None] * len(messages)


async def run(url: str) -> None:
    """Run the relay."""
    pool = await open_pool(url, name="relay", size_max=4)
    await Relay(pool, ConfirmingPublisher("", "relay"), Runtime(service="test", role="relay", instance="process")).run()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
