"""Exchanges, queues, bindings and their limits, as data: the only source of the declarations at the broker."""

from __future__ import annotations

from dataclasses import dataclass

COMMANDS = "payflow.commands"
"""Direct exchange: one consumer for each kind of command."""

EVENTS = "payflow.events"
"""Topic exchange: any number of queues for each kind of event."""

DELIVERY_LIMIT = 20
"""How often the broker redelivers before it dead-letters: a last resort, our own limit of attempts is reached first."""

DELAY_SECONDS = (1, 2, 4, 8, 16, 30)
"""The steps of the backoff. Each has its own queue, so that a long delay never blocks a short one."""

BUNDLE_MAX = 64
"""The most commands or events of one message."""


@dataclass(frozen=True, slots=True)
class Route:
    """A kind of message: where it is published, and the name of its list.

    Each item is about one `subject`; the item's field `<subject>_id` is its id.
    """

    type: str
    version: int
    exchange: str
    items: str
    subject: str


@dataclass(frozen=True, slots=True)
class Queue:
    """A quorum queue, its binding, and its queues for delays and dead letters."""

    name: str
    exchange: str
    routing_key: str

    @property
    def names(self) -> tuple[str, ...]:
        """The queue itself, and its queues for dead letters and delays."""
        return (self.name, self.dead_letter, *map(self.delay, DELAY_SECONDS))

    @property
    def dead_letter(self) -> str:
        """The name of the queue for dead letters."""
        return f"{self.name}.dead-letter"

    def delay(self, seconds: int) -> str:
        """The name of the queue that returns a message to this one after so many seconds."""
        return f"{self.name}.delay.{seconds}"


TRANSFERS_REQUESTED = Route("transfers.requested", 1, COMMANDS, "commands", "transfer")
TRANSFERS_FINALIZED = Route("transfers.finalized", 1, EVENTS, "events", "transfer")
ROUTES = {route.type: route for route in (TRANSFERS_REQUESTED, TRANSFERS_FINALIZED)}

REQUESTED_QUEUE = Queue("transfers.requested", COMMANDS, TRANSFERS_REQUESTED.type)
FINALIZED_QUEUE = Queue("notifications.transfers-finalized", EVENTS, TRANSFERS_FINALIZED.type)
QUEUES = (REQUESTED_QUEUE, FINALIZED_QUEUE)

RETIRED_QUEUES = (Queue("notices.transfers-settled", EVENTS, "transfers.settled"),)
"""Queues of earlier versions. They are deleted together with their messages, so a queue may be listed here only if each message
can be lost: the notification service reads finalized transfers from the transaction service and records what it has missed, and
dead letters are stored in its database. A queue of commands must be empty first."""
