"""One row of the table carried out: bring a role to its moment, see what is on record then, let it come back."""

from __future__ import annotations

import asyncio

from tests.chaos.crash_rig import COMMAND, EVENT, Rig, Sent
from tests.chaos.crash_table import (
    ALONE,
    ASKED,
    COMMAND_QUEUE,
    DELIVERER,
    EVENT_QUEUE,
    EXPIRED,
    MAILER,
    NOTIFIER,
    POISONED,
    RELAY,
    SWEPT,
    TRANSACTION,
    WALLET,
    WORKER_ROLE,
    Row,
)
from tests.harness import drills

SENDERS = ("alice", "bob")
"""The second transfer has another sender: nothing is known of what she can spend, and the wallet is asked again."""

BY_MESSAGE = ("/internal/post", "_post", "/internal/void", "void_transfers")
"""What a running wallet does about messages rather than about a request that waits for its answer."""


class Drill:
    """The carrying out of one row; `sent` are its transfers, `found` what was on record of the last one after the crash."""

    def __init__(self, rig: Rig, row: Row) -> None:
        self._rig = rig
        self._row = row
        self._role = row.moment.role
        self.sent: list[Sent] = []
        self.found = ""

    async def run(self) -> None:
        """Have the process end at its moment.

        Raises:
            AssertionError, TimeoutError: it did not come by, or ended otherwise.
        """
        await self._rig.take_down(self._role)
        if self._row.moment.scene in (EXPIRED, SWEPT):
            await self._rig.take_down(WORKER_ROLE)
        if self._row.moment.scene.waits:
            await self._carry()
        else:
            await self._ask()
        if self._row.moment.repair == DELIVERER or (self._row.moment.repair == RELAY and not drills.FULL):
            # Ten seconds and sixty: the relay's are waited for in the full table.
            await self._rig.end_leases()

    async def heal(self) -> None:
        """Start again what is down, as a supervisor would."""
        for name in (WALLET, self._role):
            await revive(self._rig, name)
        try:
            if self._row.moment.scene in (EXPIRED, SWEPT) and self.found:
                await self._rig.finalized(self.sent[-1])
        finally:
            await revive(self._rig, WORKER_ROLE)

    async def _ask(self) -> None:
        """The role runs, and is asked."""
        if self._role == WALLET and self._row.moment.point.endswith("/internal/availability"):
            # The transaction service asks only about senders of whom it does not know that they can pay: let it forget.
            await self._rig.stop(TRANSACTION)
            await self._rig.start(TRANSACTION)
        await self._rig.start(self._role, crash_at=self._row.crash_at)
        if self._row.transfer > 1:
            await self._go_well(await self._send())
            if self._row.copied and self._by_message and self._row.moment.scene == ASKED:
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

    async def _carry(self) -> None:
        """The role starts when its work waits for it."""
        await self._make_wait(await self._send())
        await self._rig.start(self._role, crash_at=self._row.crash_at, wait=False)
        if self._row.transfer > 1:
            await self._go_well(self.sent[0])
            if self._row.copied and self._role in (WORKER_ROLE, NOTIFIER):
                await self._copy(self.sent[0])
            else:
                await self._send()
                if self._row.copied:
                    await self._copy(self.sent[-1])
        await self._rig.died(self._role)
        self.found = await self._rig.state(self.sent[-1])

    async def _make_wait(self, sent: Sent) -> None:
        if self._role == WORKER_ROLE:
            await self._rig.waits(COMMAND_QUEUE, 1)
        if self._role == NOTIFIER:
            await self._rig.waits(EVENT_QUEUE, 1)
        if self._role == MAILER:
            await self._rig.until("notification", "SELECT EXISTS (SELECT FROM deliveries WHERE state = 'waiting')")
        if self._row.copied and self._row.transfer == 1:
            await self._copy(sent)
        if self._row.moment.scene == POISONED:
            await self._rig.publish(COMMAND, b"\xff nobody can read this")
        if self._row.moment.scene == ALONE:
            await self._rig.stop(WALLET)
        if self._row.moment.scene == EXPIRED:
            await self._rig.until(
                "transaction", "SELECT expires_at < clock_timestamp() FROM transfers WHERE id = $1", sent.transfer_id
            )

    async def _go_well(self, sent: Sent) -> None:
        """Let the first transfer come to its end in the process that is to end with the second one."""
        await self._rig.finalized(sent)
        if self._role == MAILER:
            await self._rig.delivered()
        if self._row.moment.scene not in (EXPIRED, SWEPT):
            await self._rig.quiet()

    async def _send(self) -> Sent:
        sent = await self._rig.draft(SENDERS[len(self.sent)])
        self.sent.append(sent)
        is_last = len(self.sent) == self._row.transfer
        twins = 2 if self._row.copied and is_last and not self._row.moment.scene.waits and not self._by_message else 1
        await self._rig.submit(sent, twins=twins)
        return sent

    async def _copy(self, sent: Sent) -> None:
        """One more of what brings the role its work."""
        if self._role in (NOTIFIER, MAILER):
            await self._rig.finalized(sent, told=self._role == MAILER)
            await self._rig.copy(sent, EVENT)
        else:
            await self._rig.copy(sent, COMMAND)

    @property
    def _by_message(self) -> bool:
        return self._role == WALLET and self._row.moment.point.endswith(BY_MESSAGE)


async def revive(rig: Rig, name: str) -> None:
    """Start a role that is down, or that is still to end because it never came by its point."""
    if rig.running[name].pid is None or name in rig.armed:
        await rig.stop(name)
        await rig.start(name)
