"""The finite table: every moment on the money path at which a process can end, and what must come of it.

A row is a moment of a role, met for the first or the second time, alone or with a copy of what it works on. `found` is
what is on record right after the crash, `repair` who brings the transfer to its end, `status` what its sender sees then.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

NOTHING, ACCEPTED, POSTED, VOIDED = "nothing", "PENDING", "PENDING, posted", "PENDING, voided"
COMPLETED, FAILED = "COMPLETED", "FAILED"
ACCEPTED_OR_FURTHER = (ACCEPTED, POSTED, COMPLETED)
ANYTHING = (NOTHING, *ACCEPTED_OR_FURTHER)

CLIENT = "the client, with the same key"
RELAY = "the relay, when the lease is over"
REDELIVERY = "redelivery by the broker"
WORKER = "the worker, which asks again"
REVERSAL = "the reversal, at its next pass"
DELIVERER = "the deliverer, when the lease is over"
NOBODY = "nobody: nothing is missing"

GATEWAY, TRANSACTION, WALLET = "gateway", "transaction", "wallet"
RELAY_ROLE, WORKER_ROLE, REVERSAL_ROLE = "transaction-relay", "transaction-worker-1", "transaction-reversal"
NOTIFIER, MAILER = "notification-worker", "notification-deliver"
ROLES = (GATEWAY, TRANSACTION, RELAY_ROLE, WORKER_ROLE, WALLET, REVERSAL_ROLE, NOTIFIER, MAILER)
"""Every process that a transfer passes through. Auth is asked at the login, and the notification api only to read."""

COMMANDS, EVENTS = "transfers.requested", "transfers.finalized"
COMMAND_QUEUE, EVENT_QUEUE = "transfers.requested", "notifications.transfers-finalized"


class Scene(NamedTuple):
    """What is done to bring a role to its moment."""

    name: str
    waits: bool
    """Whether the role is started with its work waiting, rather than asked while it runs."""
    troubled: bool = False
    """Whether something else than the crash is wrong, so that no undisturbed transfer comes by."""


ASKED = Scene("a client asks while it runs", waits=False)
CARRYING = Scene("its work waits when it starts", waits=True)
POISONED = Scene("a message that nobody can read waits beside its work", waits=True, troubled=True)
ALONE = Scene("its work waits, and the wallet is away", waits=True, troubled=True)
EXPIRED = Scene("nobody carried the transfer out in time", waits=True)
SWEPT = Scene("the reversal asks it to void", waits=False)


@dataclass(frozen=True, slots=True)
class Moment:
    """One point of one role, and what must come of a crash there."""

    role: str
    point: str
    found: tuple[str, ...]
    repair: str
    scene: Scene = CARRYING
    status: str = COMPLETED
    first: int = 1
    """The number of the pass at which a first transfer comes by."""
    every: int = 1
    """How many passes each transfer makes."""
    once: str = ""
    """Why there is no second pass with work in hand."""
    copied: bool = True
    """Whether it also runs with a copy."""
    brief: bool = True
    """Whether it also runs in the short form."""

    @property
    def name(self) -> str:
        return f"{self.role} {self.point}" + (f" #{self.first}" if self.every > 1 else "")


class Row(NamedTuple):
    """A moment, the pass at which it is met, and whether a copy of what it works on is there too."""

    moment: Moment
    transfer: int
    copied: bool

    @property
    def crash_at(self) -> str:
        number = self.moment.first + self.moment.every * (self.transfer - 1)
        return f"{self.moment.point}@{number}"

    @property
    def name(self) -> str:
        words = [self.moment.name, "second" if self.transfer > 1 else "first"]
        return " ".join([*words, "copied"] if self.copied else words)


def _around(*points: str) -> Iterator[str]:
    """The points of a seam for one operation: `before-`, `after-` and so on, in the order they are passed."""
    *seams, operation = points
    return (f"{seam}:{operation}" for seam in seams)


def _commit(operation: str) -> Iterator[str]:
    return _around("before-commit", "after-commit", operation)


def _call(operation: str) -> Iterator[str]:
    return _around("before-request", "after-request", "after-response", operation)


def _publish(operation: str) -> Iterator[str]:
    return _around("before-publish", "after-publish", "after-confirm", operation)


def _ack(operation: str) -> Iterator[str]:
    return _around("before-ack", "after-ack", operation)


def _gateway() -> Iterator[Moment]:
    before, *after = _call("POST /internal/transfers")
    yield Moment(GATEWAY, before, (NOTHING,), CLIENT, ASKED)
    for point in (*after, "before-answer:POST /api/v1/transfers"):
        yield Moment(GATEWAY, point, ACCEPTED_OR_FURTHER, CLIENT, ASKED, brief=not point.startswith("after-response"))
    yield Moment(GATEWAY, "after-answer:POST /api/v1/transfers", ACCEPTED_OR_FURTHER, NOBODY, ASKED, brief=False)


def _transaction() -> Iterator[Moment]:
    asks = (
        "after-use:find_keys",
        "after-use:find_wallets",
        *_call("POST /internal/wallets/find"),
        *_commit("remember_wallets"),
        "after-use:list_freeze_hints",
        "after-use:read_under_way",
        *_call("POST /internal/availability"),
    )
    for point in asks:
        yield Moment(TRANSACTION, point, (NOTHING,), CLIENT, ASKED, brief=False)
    yield Moment(TRANSACTION, "before-commit:_record", (NOTHING,), CLIENT, ASKED)
    for point in ("after-commit:_record", "before-answer:POST /internal/transfers"):
        yield Moment(TRANSACTION, point, ACCEPTED_OR_FURTHER, CLIENT, ASKED)
    yield Moment(TRANSACTION, "after-answer:POST /internal/transfers", ACCEPTED_OR_FURTHER, NOBODY, ASKED)


def _relay() -> Iterator[Moment]:
    yield Moment(RELAY_ROLE, "after-commit:claim_outbox", (ACCEPTED,), RELAY, every=2)
    before, *after = _publish(COMMANDS)
    yield Moment(RELAY_ROLE, before, (ACCEPTED,), RELAY)
    for point in after:
        yield Moment(RELAY_ROLE, point, ACCEPTED_OR_FURTHER, RELAY)
    yield Moment(RELAY_ROLE, "after-commit:mark_published", ACCEPTED_OR_FURTHER, NOBODY, every=2)
    # A copy of the command may bring the event before the relay looks: then it claims and marks both at once.
    yield Moment(RELAY_ROLE, "after-commit:claim_outbox", (COMPLETED,), RELAY, first=2, every=2, copied=False)
    for point in _publish(EVENTS):
        yield Moment(RELAY_ROLE, point, (COMPLETED,), RELAY, brief=point.startswith("after-confirm"))
    yield Moment(
        RELAY_ROLE, "after-commit:mark_published", (COMPLETED,), NOBODY, first=2, every=2, copied=False, brief=False
    )


def _worker() -> Iterator[Moment]:
    before, *after = _call("POST /internal/post")
    yield Moment(WORKER_ROLE, before, (ACCEPTED,), REDELIVERY)
    for point in after:
        yield Moment(WORKER_ROLE, point, (POSTED,), REDELIVERY)
    before, finalized = _commit("finalize_transfers")
    yield Moment(WORKER_ROLE, before, (POSTED,), REDELIVERY)
    for point in (finalized, *_ack(COMMAND_QUEUE)):
        yield Moment(WORKER_ROLE, point, (COMPLETED,), NOBODY)
    once = "one message that nobody can read is enough"
    for point in _publish(f"{COMMAND_QUEUE}.dead-letter"):
        yield Moment(WORKER_ROLE, point, (ACCEPTED, COMPLETED), REDELIVERY, POISONED, once=once, brief=False)
    once = "each try of the same window comes by, and how often is a matter of time"
    for point in _commit("note_attempts"):
        yield Moment(WORKER_ROLE, point, (ACCEPTED,), REDELIVERY, ALONE, once=once, brief=False)


def _wallet() -> Iterator[Moment]:
    find, availability = "POST /internal/wallets/find", "POST /internal/availability"
    for point in (*_commit("find_accounts"), f"before-answer:{find}"):
        yield Moment(WALLET, point, (NOTHING,), CLIENT, ASKED, brief=False)
    yield Moment(WALLET, f"after-answer:{find}", (NOTHING, ACCEPTED), NOBODY, ASKED, brief=False)
    for point in _around("before-answer", "after-answer", availability):
        yield Moment(WALLET, point, (NOTHING, ACCEPTED), NOBODY, ASKED, brief=False)
    before, after = _commit("_post")
    yield Moment(WALLET, before, (ACCEPTED,), WORKER, ASKED)
    for point in (after, "before-answer:POST /internal/post"):
        yield Moment(WALLET, point, (POSTED,), WORKER, ASKED)
    yield Moment(WALLET, "after-answer:POST /internal/post", (POSTED, COMPLETED), NOBODY, ASKED)
    before, after = _commit("void_transfers")
    yield Moment(WALLET, before, (ACCEPTED,), REVERSAL, SWEPT, FAILED)
    yield Moment(WALLET, after, (VOIDED,), REVERSAL, SWEPT, FAILED)
    yield Moment(WALLET, "before-answer:POST /internal/void", (VOIDED,), REVERSAL, SWEPT, FAILED, brief=False)
    yield Moment(WALLET, "after-answer:POST /internal/void", (VOIDED, FAILED), NOBODY, SWEPT, FAILED, brief=False)


def _reversal() -> Iterator[Moment]:
    before, *after = _call("POST /internal/void")
    once = "it looks at every pass, also when nothing is stale"
    yield Moment(REVERSAL_ROLE, "after-use:list_stale", (ACCEPTED,), REVERSAL, EXPIRED, FAILED, once=once, brief=False)
    yield Moment(REVERSAL_ROLE, before, (ACCEPTED,), REVERSAL, EXPIRED, FAILED, brief=False)
    for point in after:
        yield Moment(REVERSAL_ROLE, point, (VOIDED,), REVERSAL, EXPIRED, FAILED, brief=False)
    before, finalized = _commit("finalize_transfers")
    yield Moment(REVERSAL_ROLE, before, (VOIDED,), REVERSAL, EXPIRED, FAILED)
    yield Moment(REVERSAL_ROLE, finalized, (FAILED,), NOBODY, EXPIRED, FAILED)


def _notifier() -> Iterator[Moment]:
    before, after = _commit("record_events")
    yield Moment(NOTIFIER, before, (COMPLETED,), REDELIVERY)
    yield Moment(NOTIFIER, after, (COMPLETED,), NOBODY)
    for point in _ack(EVENT_QUEUE):
        yield Moment(NOTIFIER, point, (COMPLETED,), NOBODY, brief=False)


def _mailer() -> Iterator[Moment]:
    once = "it claims every second, also when nothing is due"
    before, after = _commit("claim_deliveries")
    yield Moment(MAILER, before, (COMPLETED,), DELIVERER, once=once, brief=False)
    yield Moment(MAILER, after, (COMPLETED,), DELIVERER, once=once, brief=False)
    for point in (*_call("POST /internal/contacts"), *_commit("mark_delivery_sent"), *_commit("mark_delivery_failed")):
        yield Moment(MAILER, point, (COMPLETED,), DELIVERER, brief=False)


MOMENTS = tuple(
    itertools.chain(_gateway(), _transaction(), _relay(), _worker(), _wallet(), _reversal(), _notifier(), _mailer())
)

NEVER_RETURNS = tuple(
    replace(moment, repair="the reversal, for the worker never comes back", status=status)
    for moment, status in (
        (Moment(WORKER_ROLE, "before-request:POST /internal/post", (ACCEPTED,), ""), FAILED),
        (Moment(WORKER_ROLE, "after-request:POST /internal/post", (POSTED,), ""), COMPLETED),
        (Moment(WORKER_ROLE, "after-response:POST /internal/post", (POSTED,), ""), COMPLETED),
        (Moment(WORKER_ROLE, "before-commit:finalize_transfers", (POSTED,), ""), COMPLETED),
    )
)
"""The worker is not started again before the transfer has its end."""

UNREACHABLE: Mapping[str, Mapping[str, str]] = {
    GATEWAY: {
        "before-commit after-commit after-use": "it has no database",
        "before-publish after-publish after-confirm before-ack after-ack": "it does not speak to the broker",
    },
    TRANSACTION: {
        "before-publish after-publish after-confirm": "it publishes only what an operator replays: in test_dead_letters.py",
        "before-ack after-ack": "it takes no messages",
    },
    RELAY_ROLE: {
        "before-commit": "its two statements commit by themselves",
        "after-use": "after-commit:claim_outbox and after-commit:mark_published tell the uses that matter from the idle ones",
        "before-request after-request after-response before-answer after-answer": "it neither calls nor is called",
        "before-ack after-ack": "it takes dead letters alone: kept, then acknowledged; a copy is recognised",
    },
    WORKER_ROLE: {
        "after-use": "all it does to its database it does in transactions",
        "before-answer after-answer": "nobody calls it",
    },
    WALLET: {
        "after-use": "its reads see one snapshot, and leave nothing behind",
        "before-publish after-publish after-confirm before-ack after-ack": "it does not speak to the broker",
        "before-request after-request after-response": "it calls nobody",
    },
    REVERSAL_ROLE: {
        "before-publish after-publish after-confirm before-ack after-ack": "it does not speak to the broker",
        "before-answer after-answer": "nobody calls it",
    },
    NOTIFIER: {
        "after-use": "so it only reads how far it has caught up, and these drills leave the catch-up out",
        "before-publish after-publish after-confirm": "it publishes dead letters alone, and the worker's rows show those",
        "before-request after-request after-response": "it calls to catch up, which these drills leave out",
        "before-answer after-answer": "nobody calls it",
    },
    MAILER: {
        "after-use": "all it does to its database it does in transactions",
        "before-publish after-publish after-confirm before-ack after-ack": "it does not speak to the broker",
        "before-answer after-answer": "nobody calls it",
    },
}
"""By role: seams without a row, and why."""

OFF_PATH: Mapping[str, str] = {
    r"after-use:(transaction|snapshot)": "the same moment as the end of the transaction, seen from below",
    r"after-use:ping": "a look at the health",
    r"((before|after)-commit|after-use):(list_terminal|get_replicated_transfer)": "a client that waits: no table is written",
    r"after-use:(measure|_measure|_prune|_pass|count)": "figures for people, removal of what was told, idle looks at the outbox",
    r"(before|after)-commit:beat": "a heartbeat: nothing of any transfer is in it",
    r"(before|after)-answer:GET .*": "an answer that only reads",
    r"(before-request|after-request|after-response):GET .*": "a question that only reads",
    r"(before|after)-(commit:(list_wallets|_read_wallets)|answer:POST /api/v1/auth/.*)": "before the transfer: the login",
    r"(before-request|after-request|after-response):POST /internal/login": "before the transfer: the login",
    r"(before-request|after-request|after-response):POST /internal/emails/.*": "letters of auth: no transfer is in them",
    r"after-use:list_heartbeats": "the backlog of all transfers: a read",
    r"after-use:list_accepted": "what waits is told live that it does: a question that only reads",
    r"(before|after)-commit:record_accepted": "the live word PENDING: the next look tells it, once, unless the outcome is there",
}
"""Points that processes come by while a transfer is under way and that cannot touch it, as patterns, and why."""

NEEDS_TROUBLE: Mapping[str, str] = {
    "before-commit:mark_conflicted, after-commit:mark_conflicted": "only a transfer id that was used twice gets there",
    "before-publish:transfers.requested.delay.1 and its companions": "as for dead letters: publish, confirm, then acknowledge",
    "before-commit:find_replays, after-commit:find_replays": "a used key gets the recorded response: no table is written",
    "before-commit:release_deliveries, before-commit:delay_delivery": "a mail server that is away or refuses",
    "before-request:POST /internal/recipients and its companions": "asked only for a recipient named by e-mail, and only read",
}
"""Points that no undisturbed transfer comes by, and that have no row; for readers."""


def rows(*, full: bool) -> list[Row]:
    """The rows of a run: all of them, or each moment once where it matters most."""
    if not full:
        return [Row(moment, 1, copied=False) for moment in MOMENTS if moment.brief]
    return [
        Row(moment, transfer, copied)
        for moment in MOMENTS
        for transfer in ((1,) if moment.once else (1, 2))
        for copied in ((False, True) if moment.copied else (False,))
    ]


def as_markdown() -> str:
    """The table for readers: one line for each moment."""
    lines = ["| process | it ends | on record then | who repairs | its sender sees |", "|---|---|---|---|---|"]
    for moment in (*MOMENTS, *NEVER_RETURNS):
        number = f" (pass {moment.first})" if moment.every > 1 else ""
        found = ", or ".join(moment.found)
        lines.append(f"| {moment.role} | `{moment.point}`{number} | {found} | {moment.repair} | {_sees(moment)} |")
    return "\n".join(lines)


def _sees(moment: Moment) -> str:
    if moment.repair == CLIENT:
        return f"an error, then 202{'' if moment.found == (NOTHING,) else ' (replayed)'}, then {moment.status}"
    return f"202, then {moment.status}"
