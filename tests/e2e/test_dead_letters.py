"""Dead letters through the gateway and the command line, as an operator handles them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import pytest

from services.contracts.topology import FINALIZED_QUEUE, REQUESTED_QUEUE
from tests.e2e.test_command_line import Terminal
from tests.harness import broker
from tests.harness.api import Person
from tests.harness.stack import Stack

BASE = "/ops/dead-letters"


async def poison(stack: Stack, queue: str) -> str:
    """Publish an unreadable message to a queue; return a mark in its content."""
    mark = uuid4().hex
    async with broker.channel(stack) as channel:
        message = aio_pika.Message(f"no json {mark}".encode(), delivery_mode=2)
        await channel.default_exchange.publish(message, queue)
    return mark


async def found(operator: Person, mark: str, *, seconds: float = 30) -> dict[str, Any]:
    """Wait until the dead letter is listed; return it in full."""
    async with asyncio.timeout(seconds):
        while True:
            for item in (await operator.get(BASE)).body["items"]:
                whole = (await operator.get(f"{BASE}/{item['id']}")).body
                if mark in (whole["body"] or ""):
                    return whole
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("queue", [REQUESTED_QUEUE.name, FINALIZED_QUEUE.name])
async def test_from_the_queue_to_the_discard(stack: Stack, operator: Person, alice: Person, queue: str) -> None:
    """Guarantee 37: an unreadable message of either queue is listed, shown, replayed, discarded; each action is recorded."""
    dead_letter = await found(operator, await poison(stack, queue))
    path = f"{BASE}/{dead_letter['id']}"
    dry = await operator.post(f"{path}/replay?dry_run=true")
    overview = (await operator.get("/ops/overview")).body
    replayed = await operator.post(f"{path}/replay")
    # It fails again and waits again, as the same dead letter or a new one.
    again = await found(operator, dead_letter["body"].split()[-1])
    ended = await operator.post(f"{BASE}/{again['id']}/discard", {"reason": "a test put it there"})
    listed = (await operator.get(f"{BASE}?queue={queue}&state=discarded&limit=200")).body
    actions = (await operator.get(f"/ops/audit?actor_id={operator.user_id}&limit=2")).body["items"]

    assert (queue, "waiting") == (dead_letter["queue"], dead_letter["state"])
    assert dead_letter["reason"].startswith("malformed")
    assert (200, True, "waiting") == (dry.status, dry.body["dry_run"], dry.body["dead_letter"]["state"])
    assert overview["dead_letters"] >= 1
    assert (200, 1) == (replayed.status, replayed.body["dead_letter"]["replays"])
    assert (200, "discarded") == (ended.status, ended.body["state"])
    assert again["id"] in [item["id"] for item in listed["items"]]
    assert ["dead_letter_discarded", "dead_letter_replayed"] == [action["action"] for action in actions]
    assert 403 == (await alice.get(path)).status
    assert [404, 404] == [(await operator.get(f"{BASE}/{id_}")).status for id_ in (str(uuid4()), "x")]


async def test_at_the_command_line(stack: Stack, operator: Person, tmp_path: Path) -> None:
    """`payflow dead-letters` lists, shows, replays dry and discards; an error is one line and a non-zero exit."""
    dead_letter = await found(operator, await poison(stack, REQUESTED_QUEUE.name))
    terminal = Terminal(stack, tmp_path)
    await terminal.run("login", "ops@example.com", password="payflow-demo-1")
    listed = await terminal.run("dead-letters", "list")
    shown = await terminal.run("dead-letters", "show", dead_letter["id"], "--json")
    dry = await terminal.run("dead-letters", "replay", dead_letter["id"], "--dry-run")
    ended = await terminal.run("dead-letters", "discard", dead_letter["id"], "--reason", "a test put it there")
    unknown = await terminal.run("dead-letters", "show", str(uuid4()))
    actions = await terminal.run("audit", "--since", "1h", "--limit", "5")

    assert (0, True) == (listed[0], dead_letter["id"] in listed[1]), listed
    assert dead_letter["body"] == json.loads(shown[1])["body"]
    assert (0, True) == (dry[0], "a dry run" in dry[1]), dry
    assert 0 == ended[0], ended
    assert (1, 1) == (unknown[0], len(unknown[2].strip().splitlines()))
    assert (0, True) == (actions[0], "dead_letter_discarded" in actions[1]), actions
