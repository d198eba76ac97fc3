"""Run one row of the table: crash a role at its point, check the recorded state, and restart the role."""

from __future__ import annotations

import asyncio

from tests.chaos.crash_rig import COMMAND, EVENT, Rig, Sent
from tests.chaos.crash_table import (
    COMMAND_QUEUE,
    DELIVERER,
    EVENT_QUEUE,
    EXPIRED,
    MAILER,
    NOTIFIER,
    POISONED,
    RELAY,
    REQUESTED,
    TRANSACTION,
    VOIDING,
    WALLET,
    WALLET_DOWN,
    WORKER_ROLE,
    Row,
)
from tests.harness import drills

SENDERS = ("alice", "bob")
"""The second transfer has another sender, so the transaction service checks funds with the wallet again."""

BY_MESSAGE = ("/internal/post", "_post", "/internal/void", "void_transfers")
"""Operations of the wallet that are caused by a message, not by a request that waits for its response."""


class Drill:
    """The run of one row; `sent` holds its transfers, `found` the recorded state of the last one after the crash."""

    def __init__(self, rig: Rig, row: Row) -> None:
        self._rig = rig
        self._row = row
        self._role = row.moment.role
        self.sent: list[Sent] = []
        self.found = ""

    async def run(self) -> None:
        """Let the process crash at its point.

        Raises:
            AssertionError, TimeoutError: it did not reach the point, or ended otherwise.
        """
        await self._rig.take_down(self._role)
        if self._row.moment.scene in (EXPIRED, VOIDING):
            await self._rig.take_down(WORKER_ROLE)
        if self._row.moment.scene.waits:
            await self._start_with_work()
        else:
            await self._send_work()
        if self._row.moment.repair == DELIVERER or (self._row.moment.repair == RELAY and not drills.FULL):
            # The leases last 3 s and 60 s; only the full table waits for those of the relay.
            await self._rig.end_leases()

    async def heal(self) -> None:
        """Restart what is down, as a supervisor would."""
        for name in (WALLET, self._role):
            await restart(self._rig, name)
        try:
            if self._row.moment.scene in (EXPIRED, VOIDING) and self.found:
                await self._rig.finalized(self.sent[-1])
        finally:
            await restart(self._rig, WORKER_ROLE)

    async def _send_work(self) -> None:
        """Send the work while the role is running."""
        if self._role == WALLET and self._row.moment.point.endswith("/internal/availability"):
            # The transaction service requests this only for senders with an unknown balance: a restart clears its memory.
            await self._rig.stop(TRANSACTION)
            await self._rig.start(TRANSACTION)
        await self._rig.start(self._role, crash_at=self._row.crash_at)
        if self._row.transfer > 1:
            await self._complete_first(await self._send())
            if self._row.copied and self._by_message and self._row.moment.scene == REQUESTED:
                await self._copy(self.sent[0])
                await self._rig.died(self._role)
                return
        submitting = asyncio.create_task(self._send())
        if self._row.copied and self._by_message:
            await self._copy(await submitting)
        await self._rig.died(self._role)
        self.found = await self._rig.state(self.sent[-1])
        await self._rig.start(self._role)
        await submitting

    async def _start_with_work(self) -> None:
        """Start the role when its work is already waiting."""
        await self._queue_work(await self._send())
        await self._rig.start(self._role, crash_at=self._row.crash_at, wait=False)
        if self._row.transfer > 1:
            await self._complete_first(self.sent[0])
            if self._row.copied and self._role in (WORKER_ROLE, NOTIFIER):
                await self._copy(self.sent[0])
            else:
                await self._send()
                if self._row.copied:
                    await self._copy(self.sent[-1])
        await self._rig.died(self._role)
        self.found = await self._rig.state(self.sent[-1])

    async def _queue_work(self, sent: Sent) -> None:
        if self._role == WORKER_ROLE:
            await self._rig.waits(COMMAND_QUEUE, 1)
        if self._role == NOTIFIER:
            await self._rig.waits(EVENT_QUEUE, 1)
        if self._role == MAILER:
            await self._rig.until("notification", "SELECT EXISTS (SELECT FROM deliveries WHERE state = 'waiting')")
        if self._row.copied and self._row.transfer == 1:
            await self._copy(sent)
        if self._row.moment.scene == POISONED:
            await self._rig.publish(COMMAND, b"\xff unreadable")
        if self._row.moment.scene == WALLET_DOWN:
            await self._rig.stop(WALLET)
        if self._row.moment.scene == EXPIRED:
            await self._rig.until(
                "transaction", "SELECT expires_at < clock_timestamp() FROM transfers WHERE id = $1", sent.transfer_id
            )

    async def _complete_first(self, sent: Sent) -> None:
        """Complete the first transfer in the process that crashes at the second one."""
        await self._rig.finalized(sent)
        if self._role == MAILER:
            await self._rig.delivered()
        if self._row.moment.scene not in (EXPIRED, VOIDING):
            await self._rig.quiet()

    async def _send(self) -> Sent:
        sent = await self._rig.draft(SENDERS[len(self.sent)])
        self.sent.append(sent)
        is_last = len(self.sent) == self._row.transfer
        copies = 2 if self._row.copied and is_last and not self._row.moment.scene.waits and not self._by_message else 1
        await self._rig.submit(sent, copies=copies)
        return sent

    async def _copy(self, sent: Sent) -> None:
        """Send a copy of the message that gives the role its work."""
        if self._role in (NOTIFIER, MAILER):
            await self._rig.finalized(sent, notified=self._role == MAILER)
            await self._rig.copy(sent, EVENT)
        else:
            await self._rig.copy(sent, COMMAND)

    @property
    def _by_message(self) -> bool:
        return self._role == WALLET and self._row.moment.point.endswith(BY_MESSAGE)


async def restart(rig: Rig, name: str) -> None:
    """Restart a role that is down, or that is still armed because it never reached its point."""
    if rig.running[name].pid is None or name in rig.armed:
        await rig.stop(name)
        await rig.start(name)
