"""The transaction service, as the notification worker reads it: its database, its api, and events that may be lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from aiohttp import web

from services.chassis import server
from services.chassis.database import Pool
from services.chassis.service_tokens import TokenVerifier
from services.contracts.identifiers import new_id
from services.contracts.messages import TransferEvent, decode_envelope, encode_envelope
from services.contracts.messages import decode_event as decode
from services.contracts.topology import TRANSFERS_FINALIZED
from services.notification.wakeup import FeedWakeup
from services.transaction import api
from services.transaction import commands as transaction
from services.transaction.store import Draft, WalletResult
from services.transaction.transfer import PENDING, Transfer, request_hash
from tests.harness.outbox_items import list_items


@dataclass(slots=True)
class Transfers:
    """The transaction service: its database, its api, and the events that it published, which may be lost."""

    pool: Pool
    verifier: TokenVerifier
    stack: AsyncExitStack
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self) -> None:
        app = server.application("transaction")
        app[api.POOL] = self.pool
        api.add_routes(app, self.verifier)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self.stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", self.port).start()

    async def accept(self, count: int, **changes: object) -> list[WalletResult]:
        """PENDING transfers, and their outcomes: every third one is rejected."""
        drafts = [_draft(**changes) for _ in range(count)]
        assert count == len(await transaction.accept_transfers(self.pool, drafts))
        said = [("rejected", "insufficient_funds") if number % 3 == 2 else ("posted", None) for number in range(count)]
        long_ago = datetime.now(UTC) - timedelta(hours=1)
        return [
            WalletResult(draft.transfer.id, outcome, reason, long_ago, None)
            for draft, (outcome, reason) in zip(drafts, said, strict=True)
        ]

    async def finalize(self, count: int, **changes: object) -> list[TransferEvent]:
        """Transfers finalized just now; their events, as in the outbox."""
        outcomes = await self.accept(count, **changes)
        for start in range(0, count, 400):
            assert len(outcomes[start : start + 400]) == await transaction.finalize_transfers(
                self.pool, outcomes[start : start + 400]
            )
        return await self.events([one.transfer_id for one in outcomes])

    async def events(self, transfer_ids: Sequence[UUID]) -> list[TransferEvent]:
        items = await list_items(self.pool, TRANSFERS_FINALIZED)
        bundle = encode_envelope(TRANSFERS_FINALIZED, items, sent_at=datetime.now(UTC))
        events = {event.transfer_id: event for event in map(decode, decode_envelope(TRANSFERS_FINALIZED, bundle).items)}
        return [events[id_] for id_ in transfer_ids]


def _draft(**changes: object) -> Draft:
    now = datetime.now(UTC)
    source, destination = new_id(), new_id()
    transfer = Transfer(
        id=new_id(),
        user_id=new_id(),
        recipient_id=new_id(),
        kind="transfer",
        status=PENDING,
        amount=1050,
        currency="USD",
        from_wallet_id=source,
        to_wallet_id=destination,
        description='Lunch, "quoted"',
        metadata=None,
        request_hash=request_hash(source, destination, 1050, "USD"),
        created_at=now,
        expires_at=now + timedelta(seconds=60),
        completed_at=None,
        failed_at=None,
        failure_code=None,
    )._replace(**changes)  # type: ignore[arg-type]
    return Draft(transfer, str(new_id()), bytes(32), str(new_id()), None)


class RecordingWakeup(FeedWakeup):
    """A wake-up that records its users."""

    def __init__(self) -> None:
        super().__init__(None)
        self.rung: list[set[UUID]] = []

    def notify(self, user_ids: Iterable[UUID]) -> None:
        self.rung.append(set(user_ids))
