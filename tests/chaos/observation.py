"""What clients see while processes exit and are replaced."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from uuid import uuid4

import aiohttp

from tests.chaos.timing import TimedPerson
from tests.harness.api import Response
from tests.harness.stack import Stack

PAUSE_SECONDS = 0.05


@dataclass(slots=True)
class Observation:
    """What the clients of an exiting process see; `name` is the process that exits."""

    stack: Stack
    name: str
    failed: list[str] = field(default_factory=list)
    failed_again: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    over: bool = False

    async def run_client(self, person: TimedPerson, other: TimedPerson) -> None:
        """Pay and read in turn; send a failed request once more when the process is back."""
        while not self.over:
            key = uuid4().hex
            body = {"amount": 1, "currency": "USD", "to": {"wallet_id": other.wallet_id}}
            paid = await self._send_with_retry(
                person, "POST", "/transfers", json=body, headers={"Idempotency-Key": key}
            )
            if paid is not None and paid.status == 202:
                self.ids.add(paid.body["id"])
            await self._send_with_retry(person, "GET", f"/wallets/{person.wallet_id}/balance")
            await self._send_with_retry(person, "GET", "/transfers?limit=5")
            await asyncio.sleep(PAUSE_SECONDS)

    async def _send_with_retry(self, person: TimedPerson, method: str, path: str, **request: object) -> Response | None:
        first = await self._try(person, method, path, **request)
        if not isinstance(first, str):
            return first
        self.failed.append(first)
        await self.stack.ready(self.name)
        again = await self._try(person, method, path, **request)
        if isinstance(again, str):
            self.failed_again.append(again)
            return None
        return again

    async def _try(self, person: TimedPerson, method: str, path: str, **request: object) -> Response | str:
        headers = {"Authorization": f"Bearer {person.token}"} | dict(request.pop("headers", {}))  # type: ignore[call-overload]
        try:
            response = await person.send(method, path, headers=headers, **request)
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"{method} {path.partition('?')[0].split('/')[1]}: {type(error).__name__}"
        if response.status >= 500:
            return f"{method} {path.partition('?')[0].split('/')[1]}: {response.status} {response.code}"
        return response


def exits_of(stack: Stack, name: str) -> list[str]:
    """The exits of this process, in the words of the supervisor's log."""
    return re.findall(
        rf"^{name} ((?:exited with|was ended by) \S+?),", (stack.home / "run.log").read_text(), re.MULTILINE
    )
