"""The load generator: `python -m tests.performance.generator`, a process of its own.

It shares the machine with what it measures, so it does as little as possible: requests are joined from ready-made bytes, a
response is searched for its length and its id, and the next request is sent from the callback that received the last one.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from functools import partial
from typing import Any, cast
from uuid import uuid4

import uvloop

from tests.performance import child, requests

RETRY_SECONDS = 0.05
"""A pause after a response other than expected, so that a refused request is not repeated at once."""

POLL_SECONDS = 0.002
"""A pause before a transfer is read again."""

LATE_SECONDS_MAX = 60.0
"""After the last request a response may take so long; then it counts as missing."""

_LENGTH = re.compile(rb"[Cc]ontent-[Ll]ength: (\d+)")
_ID = re.compile(rb'"id":\s*"([0-9a-f-]{36})"')
_STATUS = re.compile(rb'"status":\s*"([A-Z]+)"')


class Connection(asyncio.Protocol):
    """One keep-alive connection; it has one request in flight."""

    def __init__(self, load: Load, number: int) -> None:
        self.load, self.number = load, number
        self.rng = random.Random(f"{load.job['seed']} {number}")
        self.begun = 0.0
        self.due = 0.0
        self.polled = b""
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._received:
            data = self._received + data
        head = data.find(b"\r\n\r\n")
        length = _LENGTH.search(data, 0, head) if head > 0 else None
        if length is None or len(data) < head + 4 + int(length[1]):
            self._received = data
            return
        self._received = b""
        self.load.received(self, int(data[9:12]), data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.load.lost(self)

    def send(self, request: bytes) -> None:
        """Send one request."""
        self._transport.write(request)


class Load:
    """A closed loop on every connection, or a rate shared by them; transfers of one minor unit."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.run = uuid4().hex.encode()
        self.requests = [self.request(job["senders"][sender]) for sender, _ in job["connections"]]
        self.receivers = [[wallet.encode() for wallet in wallets] for wallets in job["receivers"]]
        self.own = [job["senders"][sender]["wallet"].encode() for sender, _ in job["connections"]]
        self.sent = 0
        self.statuses: dict[int, int] = {}
        self.ids: list[str] = []
        self.submitted: list[float] = []
        self.accepted: list[float] = []
        self.completed: list[float] = []
        self.last_accepted_at = 0.0
        self.open = len(job["connections"])
        self.ended = asyncio.get_running_loop().create_future()
        self.interval = len(job["connections"]) / job["rate"] if job.get("rate") else 0.0

    def request(self, sender: dict[str, str]) -> bytes:
        """What is the same in every request of a sender."""
        return requests.transfer_head(self.job["host"], sender["token"])

    def start(self, connections: list[Connection]) -> None:
        """Send the first request of each connection; with a rate, one after the other."""
        self.began = time.time()
        self.until = self.began + self.job["seconds"]
        for connection in connections:
            connection.due = self.began + self.interval * connection.number / len(connections)
            self.schedule(connection)

    def schedule(self, connection: Connection) -> None:
        """Send the next request at once, or when the rate allows it."""
        delay = connection.due - time.time() if self.interval else 0.0
        if delay > 0:
            asyncio.get_running_loop().call_later(delay, self.send_next, connection)
        else:
            self.send_next(connection)

    def send_next(self, connection: Connection) -> None:
        """Send the next transfer, unless the run is over."""
        now = time.time()
        if now >= self.until or self.sent >= self.job["count"]:
            self.lost(connection)
            return
        self.sent += 1
        # With a rate the time counts from when the request was due: waiting for a free connection is waiting, too.
        connection.begun = min(now, connection.due) if self.interval else now
        connection.due += self.interval
        receivers = self.receivers[self.job["connections"][connection.number][1]]
        wallet = receivers[int(connection.rng.random() * len(receivers))]
        if wallet == self.own[connection.number]:
            wallet = receivers[receivers.index(wallet) - 1]
        key = b"%b-%d" % (self.run, self.sent)
        connection.send(requests.transfer(self.requests[connection.number], key, wallet))

    def received(self, connection: Connection, status: int, data: bytes) -> None:
        """Count a response and go on."""
        now = time.time()
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status != 202:
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self.schedule, connection)
            return
        self.record(connection, data, now)
        self.schedule(connection)

    def record(self, connection: Connection, data: bytes, now: float) -> None:
        """Record an accepted transfer."""
        self.last_accepted_at = now
        self.ids.append(_ID.search(data)[1].decode())  # type: ignore[index]
        self.submitted.append(connection.begun)
        self.accepted.append(now - connection.begun)

    def lost(self, connection: Connection) -> None:
        """A connection sends no more."""
        if connection.number >= 0:
            connection.number = -1
            self.open -= 1
            if self.open == 0 and not self.ended.done():
                self.ended.set_result(None)

    def result(self) -> dict[str, Any]:
        """Everything that was seen."""
        return {
            "sent": self.sent,
            "statuses": self.statuses,
            "began": self.began,
            "last_accepted_at": self.last_accepted_at,
            "ids": self.ids,
            "submitted": self.submitted,
            "accepted": self.accepted,
            "completed": self.completed,
        }


class Polling(Load):
    """One transfer at a time on each connection: after its 202 it is read until it is final, as a client does."""

    def received(self, connection: Connection, status: int, data: bytes) -> None:
        """Read the transfer until it is final."""
        now = time.time()
        if status == 202:
            self.statuses[status] = self.statuses.get(status, 0) + 1
            self.record(connection, data, now)
            sender = self.job["senders"][self.job["connections"][connection.number][0]]
            connection.polled = requests.get(self.job["host"], sender["token"], f"/transfers/{self.ids[-1]}")
        elif status != 200:
            super().received(connection, status, data)
            return
        elif _STATUS.search(data)[1] != b"PENDING":  # type: ignore[index]
            self.completed.append(now - connection.begun)
            self.schedule(connection)
            return
        # Without a pause the client itself would be the load.
        asyncio.get_running_loop().call_later(POLL_SECONDS, connection.send, connection.polled)


class Reads(Load):
    """Each sender reads something of its own wallet."""

    def request(self, sender: dict[str, str]) -> bytes:
        """The request of a sender."""
        return requests.get(self.job["host"], sender["token"], self.job["path"].format(sender["wallet"]))

    def send_next(self, connection: Connection) -> None:
        """Read again, unless the run is over."""
        connection.begun = time.time()
        if connection.begun >= self.until:
            self.lost(connection)
            return
        self.sent += 1
        connection.send(self.requests[connection.number])

    def received(self, connection: Connection, status: int, data: bytes) -> None:  # noqa: ARG002
        """Count a response and go on."""
        now = time.time()
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status != 200:
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self.send_next, connection)
            return
        self.last_accepted_at = now
        self.accepted.append(now - connection.begun)
        self.send_next(connection)


KINDS = {"transfers": Load, "polling": Polling, "reads": Reads}


async def main(job: dict[str, Any]) -> dict[str, Any]:
    """Connect, wait for the start, send, and return what was seen."""
    load = KINDS[job["kind"]](job)
    loop = asyncio.get_running_loop()
    connections = []
    for number in range(len(job["connections"])):
        _, connection = await loop.create_connection(partial(Connection, load, number), job["host"], job["port"])
        connections.append(connection)
    child.wait_for_go()
    cpu = time.process_time()
    load.start(connections)
    await asyncio.wait([load.ended], timeout=job["seconds"] + LATE_SECONDS_MAX)
    return load.result() | {"cpu_seconds": time.process_time() - cpu}


if __name__ == "__main__":
    child.finish(uvloop.run(main(child.read_job())))
