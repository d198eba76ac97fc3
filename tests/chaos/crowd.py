"""The load of a run: people who pay one another, lose answers, ask again, cancel, and look; seeded, one task each."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from uuid import UUID

import aiohttp

from tests.chaos.history import History, Intent
from tests.chaos.person import PATIENCE_SECONDS, Answer, Person

FUNDS = 50_000
HOT = 4
"""So many wallets are in half of all payments."""

THINK_SECONDS = 0.25
UNANSWERED_MAX = 6
"""With so many requests unanswered nobody thinks of new ones: they ask again until they know."""


ACTIONS = {
    "pay": 46,
    "pay too much": 6,
    "pay twice at once": 5,
    "pay with a key of somebody else": 3,
    "again": 12,
    "replay": 10,
    "replay changed": 2,
    "look": 8,
    "cancel": 4,
    "top up": 3,
}
"""What people do, and how often in a hundred."""


@dataclass(slots=True)
class Crowd:
    """Everybody who uses the system during a run, and the operator who funds them."""

    people: list[Person]
    operator: Person
    history: History
    seed: int
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def fund(self) -> None:
        """Give everybody money to lose; waits until it has arrived.

        Raises:
            TimeoutError: it does not.
        """
        chance = random.Random(f"funds {self.seed}")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*(self._fund(person, _key(chance)) for person in self.people))

    async def run(self) -> None:
        """Everybody does as they please until the run stops."""
        await asyncio.gather(*(self._live(number, person) for number, person in enumerate(self.people)))

    async def finalize(self, seconds: float) -> None:
        """Everybody asks again until every request is answered, then until every transfer is terminal."""
        everybody = [*self.people, self.operator]
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(self._finalize(person) for person in everybody))
        except TimeoutError:
            pass  # what is still open then is for the judge

    async def _live(self, number: int, person: Person) -> None:
        chance = random.Random(f"client {self.seed} {number}")
        names, weights = list(ACTIONS), list(ACTIONS.values())
        while not self.stopping.is_set():
            action = chance.choices(names, weights)[0]
            await self._act("again" if len(person.unanswered()) >= UNANSWERED_MAX else action, person, chance)
            try:
                async with asyncio.timeout(chance.expovariate(1 / THINK_SECONDS)):
                    await self.stopping.wait()
            except TimeoutError:
                pass

    async def _act(self, action: str, person: Person, chance: random.Random) -> None:
        match action:
            case "pay":
                await self._send(person, self._intend(person, chance, chance.randint(1, 2_000)), chance)
            case "pay too much":
                # About what somebody has: so that now and then it goes through, and they could not pay it again.
                most = chance.choice([FUNDS, 10 * FUNDS])
                await self._send(person, self._intend(person, chance, chance.randint(20_000, most)), chance)
            case "pay twice at once":
                amount = chance.randint(1, 2_000)
                await person.attempt_twice(self._intend(person, chance, amount), seconds=12.0)
            case "pay with a key of somebody else":
                await self._borrow(person, chance)
            case "top up":
                await self._top_up(person, chance)
            case "again":
                await self._again(person, chance)
            case "replay" | "replay changed":
                await self._replay(person, chance, changed=action != "replay")
            case "look":
                await self._look(person, chance)
            case "cancel":
                await self._cancel(person)

    async def _send(self, person: Person, intent: Intent, chance: random.Random) -> None:
        """Now and then somebody has no patience: the request goes on, its answer is lost."""
        await person.attempt(intent, seconds=chance.choice([0.05, 1.0, 5.0, 12.0, 12.0, 12.0]))

    async def _top_up(self, person: Person, chance: random.Random) -> None:
        if len(self.operator.unanswered()) >= UNANSWERED_MAX:
            await self._again(self.operator, chance)
        else:
            await self._send(self.operator, self._deposit(person, chance), chance)

    async def _borrow(self, person: Person, chance: random.Random) -> None:
        """The very payment of somebody else, key and all, but from one's own wallet: a payment of its own."""
        used = {intent.key for intent in person.intents}
        model = chance.choice(chance.choice(self.people).intents or [None])
        if model is not None and model.key not in used and model.destination != person.wallet_id:
            intent = Intent(model.key, person.user_id, "transfer", person.wallet_id, model.destination, model.amount)
            await self._send(person, self._note(person, intent), chance)

    async def _again(self, person: Person, chance: random.Random) -> None:
        unanswered = person.unanswered()
        if unanswered:
            await person.attempt(chance.choice(unanswered), seconds=12.0)

    async def _replay(self, person: Person, chance: random.Random, *, changed: bool) -> None:
        """A payment that was accepted is sent once more: the first answer again, or a clear no when it was changed."""
        accepted = [intent for intent in person.intents if intent.transfer_id is not None]
        if not accepted:
            return
        dearest = max(accepted, key=lambda intent: intent.amount)
        intent = dearest if chance.random() < 0.5 else chance.choice(accepted)
        if not changed:
            await person.attempt(intent, seconds=12.0)
            return
        other = Intent(intent.key, intent.user_id, intent.kind, intent.source, intent.destination, intent.amount + 1)
        answer = await person.attempt(other, seconds=12.0)
        if answer.status in {200, 202}:
            self.history.contradict(f"transfer {answer.body['id']} answered another amount under its key")

    async def _look(self, person: Person, chance: random.Random) -> None:
        accepted = [intent.transfer_id for intent in person.intents if intent.transfer_id is not None]
        if not accepted:
            return
        answer = await person.ask("GET", f"/transfers/{chance.choice(accepted)}", seconds=5.0)
        self._saw(answer)
        if answer.status == 404:
            self.history.contradict(f"an accepted transfer of {person.user_id} is answered as unknown")

    async def _cancel(self, person: Person) -> None:
        for intent in reversed(person.intents[-3:]):
            if intent.transfer_id is not None:
                answer = await person.ask("POST", f"/transfers/{intent.transfer_id}/cancel", seconds=10.0)
                if answer.status == 200 and answer.body["status"] != "FAILED":
                    self.history.contradict(f"transfer {intent.transfer_id}: cancelled and {answer.body['status']}")
                self._saw(answer)
                return

    def _saw(self, answer: Answer) -> None:
        if answer.status == 200:
            self.history.saw(answer.body)

    def _intend(self, person: Person, chance: random.Random, amount: int) -> Intent:
        others = [other for other in self.people if other is not person]
        hot = [other for other in self.people[:HOT] if other is not person]
        other = chance.choice(hot if chance.random() < 0.5 else others)
        intent = Intent(_key(chance), person.user_id, "transfer", person.wallet_id, other.wallet_id, amount)
        return self._note(person, intent)

    def _deposit(self, person: Person, chance: random.Random) -> Intent:
        intent = Intent(
            _key(chance), self.operator.user_id, "deposit", None, person.wallet_id, chance.randint(1, 5_000)
        )
        return self._note(self.operator, intent)

    def _note(self, person: Person, intent: Intent) -> Intent:
        person.means(intent)
        self.history.intents.append(intent)
        return intent

    async def _fund(self, person: Person, key: str) -> None:
        intent = Intent(key, self.operator.user_id, "deposit", None, person.wallet_id, FUNDS)
        self._note(self.operator, intent)
        await self._finish(self.operator, intent)
        while intent.transfer_id not in self.history.terminal:
            self._saw(await self.operator.ask("GET", f"/transfers/{intent.transfer_id}"))
            await asyncio.sleep(0.1)

    async def _finalize(self, person: Person) -> None:
        for intent in person.unanswered():
            await self._finish(person, intent)
        while (await person.insist("/transfers?status=PENDING&limit=1"))["items"]:
            await asyncio.sleep(0.5)

    async def _finish(self, person: Person, intent: Intent) -> None:
        while intent.open:
            await person.attempt(intent, seconds=12.0)
            await asyncio.sleep(0.5 if intent.open else 0)


async def gather(
    session: aiohttp.ClientSession, base: str, *, size: int, seed: int, operator: tuple[str, str], began: float
) -> Crowd:
    """Register throw-away people at a gateway and log its operator (e-mail, password) in."""
    history = History()
    tag = f"{random.Random(f'people {seed}').getrandbits(32):08x}-{int(began * 1000) % 10**9}"
    people = [Person(session, base, f"chaos-{tag}-{n}@example.com", history, began) for n in range(size)]
    boss = Person(session, base, operator[0], history, began, password=operator[1])
    await asyncio.gather(boss.enter(register=False), *(person.enter() for person in people))
    return Crowd(people, boss, history, seed)


def _key(chance: random.Random) -> str:
    return str(UUID(int=chance.getrandbits(128), version=4))
