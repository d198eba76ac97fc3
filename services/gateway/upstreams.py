"""The upstream services of this gateway."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from services.chassis.client import Upstream
from services.chassis.service_tokens import Identity
from services.gateway.clients.auth import AuthClient
from services.gateway.clients.notification import NotificationClient
from services.gateway.clients.service import ServiceClient
from services.gateway.clients.transaction import TransactionClient
from services.gateway.clients.wallet import WalletClient

WAIT_POOLS = 8
"""Connection pools for clients that wait for an outcome: each waiter holds one connection."""


@dataclass(frozen=True, slots=True)
class Upstreams:
    """One client per upstream service."""

    auth: AuthClient
    wallet: WalletClient
    transaction: TransactionClient
    notification: NotificationClient

    def all(self) -> tuple[ServiceClient, ...]:
        """Each service once."""
        return self.auth, self.wallet, self.transaction, self.notification

    async def close(self) -> None:
        """Close all connections."""
        for service in self.all():
            await service.close()


UPSTREAMS: web.AppKey[Upstreams] = web.AppKey("upstreams")


def connect(identity: Identity, *, auth: str, wallet: str, transaction: str, notification: str) -> Upstreams:
    """Clients for these addresses; nothing is sent yet."""

    def upstream(name: str, address: str) -> Upstream:
        return Upstream("gateway", name, address, identity)

    return Upstreams(
        auth=AuthClient(upstream("auth", auth), passwords=upstream("auth", auth)),
        wallet=WalletClient(upstream("wallet", wallet)),
        transaction=TransactionClient(
            upstream("transaction", transaction),
            intake=upstream("transaction", transaction),
            waits=[upstream("transaction", transaction) for _ in range(WAIT_POOLS)],
        ),
        notification=NotificationClient(upstream("notification", notification)),
    )
