"""The load of a run: one task per client that pays, retries, replays, cancels and reads; seeded."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from uuid import UUID

import aiohttp

from tests.chaos.client import PATIENCE_SECONDS, Client, Response
from tests.chaos.history import History, Intent

FUNDS = 50_000
HOT = 4
"""Half of all payments go to this many wallets."""

THINK_SECONDS = 0.25
UNRESOLVED_MAX = 6
"""With this many unresolved payments a client starts no new ones and retries instead."""


ACTIONS = {
    "pay": 46,
    "pay too much": 6,
    "pay twice at once": 5,
    "pay with another user's key": 3,
    "retry": 12,
    "replay": 10,
    "replay changed": 2,
    "read": 8,
    "cancel": 4,
    "top up": 3,
}
"""What clients do, with weights that sum to about a hundred."""


@dataclass(slots=True)
class Load:
    """All clients of a run, and the operator who funds them."""

    clients: list[Client]
    operator: Client
    history: History
    seed: int
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def fund(self) -> None:
        """Fund every client; wait until the money has arrived.

        Raises:
            TimeoutError: it does not arrive in time.
        """
        chance = random.Random(f"funds {self.seed}")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*(self._fund(client, _key(chance)) for client in self.clients))

    async def run(self) -> None:
        """Run every client until the run stops."""
        await asyncio.gather(*(self._run_client(number, client) for number, client in enumerate(self.clients)))

    async def finalize(self, seconds: float) -> None:
        """Retry until every request has a response, then wait until every transfer is terminal."""
        all_clients = [*self.clients, self.operator]
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(self._finalize(client) for client in all_clients))
        except TimeoutError:
            pass  # what is still open is reported by the checks

    async def _run_client(self, number: int, client: Client) -> None:
        chance = random.Random(f"client {self.seed} {number}")
        names, weights = list(ACTIONS), list(ACTIONS.values())
        while not self.stopping.is_set():
            action = chance.choices(names, weights)[0]
            await self._do("retry" if len(client.unresolved()) >= UNRESOLVED_MAX else action, client, chance)
            try:
                async with asyncio.timeout(chance.expovariate(1 / THINK_SECONDS)):
                    await self.stopping.wait()
            except TimeoutError:
                pass

    async def _do(self, action: str, client: Client, chance: random.Random) -> None:
        match action:
            case "pay":
                await self._send(client, self._new_payment(client, chance, chance.randint(1, 2_000)), chance)
            case "pay too much":
                # About the balance of one client: sometimes it succeeds, and a second posting would overdraw the wallet.
                most = chance.choice([FUNDS, 10 * FUNDS])
                await self._send(client, self._new_payment(client, chance, chance.randint(20_000, most)), chance)
            case "pay twice at once":
                amount = chance.randint(1, 2_000)
                await client.attempt_twice(self._new_payment(client, chance, amount), seconds=12.0)
            case "pay with another user's key":
                await self._reuse_key(client, chance)
            case "top up":
                await self._top_up(client, chance)
            case "retry":
                await self._retry(client, chance)
            case "replay" | "replay changed":
                await self._replay(client, chance, changed=action != "replay")
            case "read":
                await self._read(client, chance)
            case "cancel":
                await self._cancel(client)

    async def _send(self, client: Client, intent: Intent, chance: random.Random) -> None:
        """Send with a random timeout: after a short one the request goes on, but its response is lost."""
        await client.attempt(intent, seconds=chance.choice([0.05, 1.0, 5.0, 12.0, 12.0, 12.0]))

    async def _top_up(self, client: Client, chance: random.Random) -> None:
        if len(self.operator.unresolved()) >= UNRESOLVED_MAX:
            await self._retry(self.operator, chance)
        else:
            await self._send(self.operator, self._deposit(client, chance), chance)

    async def _reuse_key(self, client: Client, chance: random.Random) -> None:
        """Copy another client's payment, key included, but pay from an own wallet: it must be a separate payment."""
        used = {intent.key for intent in client.intents}
        model = chance.choice(chance.choice(self.clients).intents or [None])
        if model is not None and model.key not in used and model.destination != client.wallet_id:
            intent = Intent(model.key, client.user_id, "transfer", client.wallet_id, model.destination, model.amount)
            await self._send(client, self._add(client, intent), chance)

    async def _retry(self, client: Client, chance: random.Random) -> None:
        unresolved = client.unresolved()
        if unresolved:
            await client.attempt(chance.choice(unresolved), seconds=12.0)

    async def _replay(self, client: Client, chance: random.Random, *, changed: bool) -> None:
        """Send an accepted payment again: the same response must come back, or a refusal if the amount was changed."""
        accepted = [intent for intent in client.intents if intent.transfer_id is not None]
        if not accepted:
            return
        largest = max(accepted, key=lambda intent: intent.amount)
        intent = largest if chance.random() < 0.5 else chance.choice(accepted)
        if not changed:
            await client.attempt(intent, seconds=12.0)
            return
        other = Intent(intent.key, intent.user_id, intent.kind, intent.source, intent.destination, intent.amount + 1)
        response = await client.attempt(other, seconds=12.0)
        if response.status in {200, 202}:
            self.history.add_contradiction(
                f"transfer {response.body['id']} was returned for another amount under its key"
            )

    async def _read(self, client: Client, chance: random.Random) -> None:
        accepted = [intent.transfer_id for intent in client.intents if intent.transfer_id is not None]
        if not accepted:
            return
        response = await client.send("GET", f"/transfers/{chance.choice(accepted)}", seconds=5.0)
        self._record(response)
        if response.status == 404:
            self.history.add_contradiction(f"an accepted transfer of {client.user_id} was not found")

    async def _cancel(self, client: Client) -> None:
        for intent in reversed(client.intents[-3:]):
            if intent.transfer_id is not None:
                response = await client.send("POST", f"/transfers/{intent.transfer_id}/cancel", seconds=10.0)
                if response.status == 200 and response.body["status"] != "FAILED":
                    self.history.add_contradiction(
                        f"transfer {intent.transfer_id}: cancelled and {response.body['status']}"
                    )
                self._record(response)
                return

    def _record(self, response: Response) -> None:
        if response.status == 200:
            self.history.record_body(response.body)

    def _new_payment(self, client: Client, chance: random.Random, amount: int) -> Intent:
        others = [other for other in self.clients if other is not client]
        hot = [other for other in self.clients[:HOT] if other is not client]
        other = chance.choice(hot if chance.random() < 0.5 else others)
        intent = Intent(_key(chance), client.user_id, "transfer", client.wallet_id, other.wallet_id, amount)
        return self._add(client, intent)

    def _deposit(self, client: Client, chance: random.Random) -> Intent:
        intent = Intent(
            _key(chance), self.operator.user_id, "deposit", None, client.wallet_id, chance.randint(1, 5_000)
        )
        return self._add(self.operator, intent)

    def _add(self, client: Client, intent: Intent) -> Intent:
        client.add(intent)
        self.history.intents.append(intent)
        return intent

    async def _fund(self, client: Client, key: str) -> None:
        intent = Intent(key, self.operator.user_id, "deposit", None, client.wallet_id, FUNDS)
        self._add(self.operator, intent)
        await self._finish(self.operator, intent)
        while intent.transfer_id not in self.history.terminal:
            self._record(await self.operator.send("GET", f"/transfers/{intent.transfer_id}"))
            await asyncio.sleep(0.1)

    async def _finalize(self, client: Client) -> None:
        for intent in client.unresolved():
            await self._finish(client, intent)
        while (await client.get_until_ok("/transfers?status=PENDING&limit=1"))["items"]:
            await asyncio.sleep(0.5)

    async def _finish(self, client: Client, intent: Intent) -> None:
        while intent.open:
            await client.attempt(intent, seconds=12.0)
            await asyncio.sleep(0.5 if intent.open else 0)


async def register_clients(
    session: aiohttp.ClientSession, base: str, *, size: int, seed: int, operator: tuple[str, str], began: float
) -> Load:
    """Register throw-away users at a gateway and log in its operator (e-mail, password)."""
    history = History()
    tag = f"{random.Random(f'clients {seed}').getrandbits(32):08x}-{int(began * 1000) % 10**9}"
    clients = [Client(session, base, f"chaos-{tag}-{n}@example.com", history, began) for n in range(size)]
    funder = Client(session, base, operator[0], history, began, password=operator[1])
    await asyncio.gather(funder.sign_in(register=False), *(client.sign_in() for client in clients))
    return Load(clients, funder, history, seed)


def _key(chance: random.Random) -> str:
    return str(UUID(int=chance.getrandbits(128), version=4))
