"""The finite table of all points on the money path at which a process can crash, and the required result of each.

A row is a point of a role, reached for the first or the second time, with or without a copy of its work. `found` is the
recorded state right after the crash, `repair` is what completes the transfer, `status` is what its sender sees in the end.
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
RELAY = "the relay, after the lease ends"
REDELIVERY = "redelivery by the broker"
WORKER = "the worker, by a retry"
REVERSAL = "the reversal, in its next pass"
DELIVERER = "the deliverer, after the lease ends"
COMPLETE = "nothing: no step is missing"

GATEWAY, TRANSACTION, WALLET = "gateway", "transaction", "wallet"
RELAY_ROLE, WORKER_ROLE, REVERSAL_ROLE = "transaction-relay", "transaction-worker-1", "transaction-reversal"
NOTIFIER, MAILER = "notification-worker", "notification-deliver"
ROLES = (GATEWAY, TRANSACTION, RELAY_ROLE, WORKER_ROLE, WALLET, REVERSAL_ROLE, NOTIFIER, MAILER)
"""Every process that a transfer passes through. Auth is used only at login, the notification api only for reads."""

COMMANDS, EVENTS = "transfers.requested", "transfers.finalized"
COMMAND_QUEUE, EVENT_QUEUE = "transfers.requested", "notifications.transfers-finalized"


class Scene(NamedTuple):
    """How a role is brought to its point."""

    name: str
    waits: bool
    """Whether the role is started with its work waiting, or receives the work while it runs."""
    disturbed: bool = False
    """Whether something other than the crash is wrong, so that ordinary transfers do not pass the point."""


REQUESTED = Scene("the request arrives while the role runs", waits=False)
WAITING = Scene("the work is waiting when the role starts", waits=True)
POISONED = Scene("an unreadable message is waiting besides the work", waits=True, disturbed=True)
WALLET_DOWN = Scene("the work is waiting and the wallet service is unavailable", waits=True, disturbed=True)
EXPIRED = Scene("the transfer has expired unprocessed", waits=True)
VOIDING = Scene("the reversal requests a void", waits=False)


@dataclass(frozen=True, slots=True)
class Moment:
    """A point of a role and the required result of a crash there."""

    role: str
    point: str
    found: tuple[str, ...]
    repair: str
    scene: Scene = WAITING
    status: str = COMPLETED
    first: int = 1
    """The pass of the point in the first transfer."""
    every: int = 1
    """How many times each transfer passes the point."""
    once: str = ""
    """Why there is no second pass with work to do."""
    copied: bool = True
    """Whether it also runs with a copy of the work."""
    brief: bool = True
    """Whether it also runs in the short form."""

    @property
    def name(self) -> str:
        return f"{self.role} {self.point}" + (f" #{self.first}" if self.every > 1 else "")


class Row(NamedTuple):
    """A moment, which transfer it crashes in, and whether a copy of the work is present."""

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
    """The points of an operation, one for each seam (`before-…`, `after-…`), in the order they are passed."""
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
    yield Moment(GATEWAY, before, (NOTHING,), CLIENT, REQUESTED)
    for point in (*after, "before-answer:POST /api/v1/transfers"):
        yield Moment(
            GATEWAY, point, ACCEPTED_OR_FURTHER, CLIENT, REQUESTED, brief=not point.startswith("after-response")
        )
    yield Moment(GATEWAY, "after-answer:POST /api/v1/transfers", ACCEPTED_OR_FURTHER, COMPLETE, REQUESTED, brief=False)


def _transaction() -> Iterator[Moment]:
    points = (
        "after-use:find_keys",
        "after-use:find_wallets",
        *_call("POST /internal/wallets/find"),
        *_commit("record_wallets"),
        "after-use:list_pending_amounts",
        *_call("POST /internal/availability"),
    )
    for point in points:
        yield Moment(TRANSACTION, point, (NOTHING,), CLIENT, REQUESTED, brief=False)
    yield Moment(TRANSACTION, "before-commit:_record", (NOTHING,), CLIENT, REQUESTED)
    for point in ("after-commit:_record", "before-answer:POST /internal/transfers"):
        yield Moment(TRANSACTION, point, ACCEPTED_OR_FURTHER, CLIENT, REQUESTED)
    yield Moment(TRANSACTION, "after-answer:POST /internal/transfers", ACCEPTED_OR_FURTHER, COMPLETE, REQUESTED)


def _relay() -> Iterator[Moment]:
    yield Moment(RELAY_ROLE, "after-commit:claim_outbox", (ACCEPTED,), RELAY, every=2)
    before, *after = _publish(COMMANDS)
    yield Moment(RELAY_ROLE, before, (ACCEPTED,), RELAY)
    for point in after:
        yield Moment(RELAY_ROLE, point, ACCEPTED_OR_FURTHER, RELAY)
    yield Moment(RELAY_ROLE, "after-commit:mark_published", ACCEPTED_OR_FURTHER, COMPLETE, every=2)
    # With a copy of the command the event may be written before the relay looks; then it reads and marks both at once.
    yield Moment(RELAY_ROLE, "after-commit:claim_outbox", (COMPLETED,), RELAY, first=2, every=2, copied=False)
    for point in _publish(EVENTS):
        yield Moment(RELAY_ROLE, point, (COMPLETED,), RELAY, brief=point.startswith("after-confirm"))
    yield Moment(
        RELAY_ROLE, "after-commit:mark_published", (COMPLETED,), COMPLETE, first=2, every=2, copied=False, brief=False
    )


def _worker() -> Iterator[Moment]:
    before, *after = _call("POST /internal/post")
    yield Moment(WORKER_ROLE, before, (ACCEPTED,), REDELIVERY)
    for point in after:
        yield Moment(WORKER_ROLE, point, (POSTED,), REDELIVERY)
    before, finalized = _commit("finalize_transfers")
    yield Moment(WORKER_ROLE, before, (POSTED,), REDELIVERY)
    for point in (finalized, *_ack(COMMAND_QUEUE)):
        yield Moment(WORKER_ROLE, point, (COMPLETED,), COMPLETE)
    once = "one unreadable message is enough"
    for point in _publish(f"{COMMAND_QUEUE}.dead-letter"):
        yield Moment(WORKER_ROLE, point, (ACCEPTED, COMPLETED), REDELIVERY, POISONED, once=once, brief=False)
    once = "each attempt of the same window passes it, and their number depends on time"
    for point in _commit("record_attempts"):
        yield Moment(WORKER_ROLE, point, (ACCEPTED,), REDELIVERY, WALLET_DOWN, once=once, brief=False)


def _wallet() -> Iterator[Moment]:
    find, availability = "POST /internal/wallets/find", "POST /internal/availability"
    for point in (*_commit("find_accounts"), f"before-answer:{find}"):
        yield Moment(WALLET, point, (NOTHING,), CLIENT, REQUESTED, brief=False)
    yield Moment(WALLET, f"after-answer:{find}", (NOTHING, ACCEPTED), COMPLETE, REQUESTED, brief=False)
    for point in _around("before-answer", "after-answer", availability):
        yield Moment(WALLET, point, (NOTHING, ACCEPTED), COMPLETE, REQUESTED, brief=False)
    before, after = _commit("_post")
    yield Moment(WALLET, before, (ACCEPTED,), WORKER, REQUESTED)
    for point in (after, "before-answer:POST /internal/post"):
        yield Moment(WALLET, point, (POSTED,), WORKER, REQUESTED)
    yield Moment(WALLET, "after-answer:POST /internal/post", (POSTED, COMPLETED), COMPLETE, REQUESTED)
    before, after = _commit("void_transfers")
    yield Moment(WALLET, before, (ACCEPTED,), REVERSAL, VOIDING, FAILED)
    yield Moment(WALLET, after, (VOIDED,), REVERSAL, VOIDING, FAILED)
    yield Moment(WALLET, "before-answer:POST /internal/void", (VOIDED,), REVERSAL, VOIDING, FAILED, brief=False)
    yield Moment(WALLET, "after-answer:POST /internal/void", (VOIDED, FAILED), COMPLETE, VOIDING, FAILED, brief=False)


def _reversal() -> Iterator[Moment]:
    before, *after = _call("POST /internal/void")
    once = "every pass reaches it, also when nothing is stale"
    yield Moment(REVERSAL_ROLE, "after-use:list_stale", (ACCEPTED,), REVERSAL, EXPIRED, FAILED, once=once, brief=False)
    yield Moment(REVERSAL_ROLE, before, (ACCEPTED,), REVERSAL, EXPIRED, FAILED, brief=False)
    for point in after:
        yield Moment(REVERSAL_ROLE, point, (VOIDED,), REVERSAL, EXPIRED, FAILED, brief=False)
    before, finalized = _commit("finalize_transfers")
    yield Moment(REVERSAL_ROLE, before, (VOIDED,), REVERSAL, EXPIRED, FAILED)
    yield Moment(REVERSAL_ROLE, finalized, (FAILED,), COMPLETE, EXPIRED, FAILED)


def _notifier() -> Iterator[Moment]:
    before, after = _commit("record_events")
    yield Moment(NOTIFIER, before, (COMPLETED,), REDELIVERY)
    yield Moment(NOTIFIER, after, (COMPLETED,), COMPLETE)
    for point in _ack(EVENT_QUEUE):
        yield Moment(NOTIFIER, point, (COMPLETED,), COMPLETE, brief=False)


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
    replace(moment, repair="the reversal, because the worker never comes back", status=status)
    for moment, status in (
        (Moment(WORKER_ROLE, "before-request:POST /internal/post", (ACCEPTED,), ""), FAILED),
        (Moment(WORKER_ROLE, "after-request:POST /internal/post", (POSTED,), ""), COMPLETED),
        (Moment(WORKER_ROLE, "after-response:POST /internal/post", (POSTED,), ""), COMPLETED),
        (Moment(WORKER_ROLE, "before-commit:finalize_transfers", (POSTED,), ""), COMPLETED),
    )
)
"""The worker is not restarted before the transfer is terminal."""

UNREACHABLE: Mapping[str, Mapping[str, str]] = {
    GATEWAY: {
        "before-commit after-commit after-use": "it has no database",
        "before-publish after-publish after-confirm before-ack after-ack": "it does not use the broker",
    },
    TRANSACTION: {
        "before-publish after-publish after-confirm": "it publishes only operator replays: see test_dead_letters.py",
        "before-ack after-ack": "it consumes no messages",
    },
    RELAY_ROLE: {
        "before-commit": "its statements are transactions of their own",
        "after-use": "covered by after-commit:claim_outbox and after-commit:mark_published; other uses are idle passes",
        "before-request after-request after-response before-answer after-answer": "it neither sends nor receives requests",
        "before-ack after-ack": "it consumes dead letters only: recorded, then acknowledged; a copy is recognised",
    },
    WORKER_ROLE: {
        "after-use": "all its database work is done in transactions",
        "before-answer after-answer": "it receives no requests",
    },
    WALLET: {
        "after-use": "its reads use one snapshot and write nothing",
        "before-publish after-publish after-confirm before-ack after-ack": "it does not use the broker",
        "before-request after-request after-response": "it sends no requests",
    },
    REVERSAL_ROLE: {
        "before-publish after-publish after-confirm before-ack after-ack": "it does not use the broker",
        "before-answer after-answer": "it receives no requests",
    },
    NOTIFIER: {
        "after-use": "only to read how far it has caught up, and catch-up is off in these drills",
        "before-publish after-publish after-confirm": "it publishes dead letters only, which the rows of the worker cover",
        "before-request after-request after-response": "it sends requests only to catch up, which is off in these drills",
        "before-answer after-answer": "it receives no requests",
    },
    MAILER: {
        "after-use": "all its database work is done in transactions",
        "before-publish after-publish after-confirm before-ack after-ack": "it does not use the broker",
        "before-answer after-answer": "it receives no requests",
    },
}
"""By role: seams without a row, and the reason."""

OFF_PATH: Mapping[str, str] = {
    r"after-use:(transaction|single_statement|snapshot)": "the same moment as the end of the transaction, one layer below",
    r"after-use:ping": "a health check",
    r"((before|after)-commit|after-use):(list_terminal|get_replicated_transfer)": "a waiting client: no table is written",
    r"after-use:(measure|_measure|_prune|_mark_and_claim|_(take|release)_lease|count)": "metrics, the lease, idle reads",
    r"after-use:_postpone": "rows that the broker refused: they are published later",
    r"after-use:find_cutoffs|(before|after)-commit:remove_expired": "retention: it removes only what has expired",
    r"(before|after)-commit:(record_heartbeat|delete_old_heartbeats)": "a heartbeat: it belongs to no transfer",
    r"(before|after)-answer:GET .*": "a response to a read",
    r"(before-request|after-request|after-response):GET .*": "a request that only reads",
    r"(before|after)-(commit:(list_wallets|_read_wallets)|answer:POST /api/v1/auth/.*)": "before the transfer: the login",
    r"(before-request|after-request|after-response):POST /internal/login": "before the transfer: the login",
    r"(before-request|after-request|after-response):POST /internal/emails/.*": "e-mails of auth: they belong to no transfer",
    r"after-use:list_heartbeats": "the backlog of all transfers: a read",
    r"after-use:list_late": "transfers that take longer than expected: a read",
    r"after-use:list_pending": "finds pending transfers to announce: a read",
    r"(before|after)-commit:record_pending": "the live event PENDING: the next pass sends it once, unless the outcome exists",
    r"(before|after)-commit:record_late": "the late notice: the next pass records it once, unless the outcome exists",
}
"""Points passed during a transfer that cannot affect it, as patterns, and the reason."""

UNUSUAL: Mapping[str, str] = {
    "before-commit:mark_conflicted, after-commit:mark_conflicted": "reached only by a transfer id that was used twice",
    "before-publish:transfers.requested.delay.1 and its companions": "as for dead letters: publish, confirm, then acknowledge",
    "before-commit:find_replays, after-commit:find_replays": "a used key returns the recorded response: no table is written",
    "before-commit:release_deliveries, before-commit:delay_delivery": "a mail server that is unavailable or refuses",
    "before-request:POST /internal/recipients and its companions": "sent only for a recipient given by e-mail; a read",
}
"""Points that ordinary transfers do not pass and that have no row; for readers."""


def rows(*, full: bool) -> list[Row]:
    """The rows of a run: all of them, or each important moment once."""
    if not full:
        return [Row(moment, 1, copied=False) for moment in MOMENTS if moment.brief]
    return [
        Row(moment, transfer, copied)
        for moment in MOMENTS
        for transfer in ((1,) if moment.once else (1, 2))
        for copied in ((False, True) if moment.copied else (False,))
    ]


def as_markdown() -> str:
    """The table as documentation: one line for each moment."""
    lines = ["| process | crash point | recorded state | repaired by | its sender sees |", "|---|---|---|---|---|"]
    for moment in (*MOMENTS, *NEVER_RETURNS):
        number = f" (pass {moment.first})" if moment.every > 1 else ""
        found = ", or ".join(moment.found)
        lines.append(f"| {moment.role} | `{moment.point}`{number} | {found} | {moment.repair} | {_sees(moment)} |")
    return "\n".join(lines)


def _sees(moment: Moment) -> str:
    if moment.repair == CLIENT:
        return f"an error, then 202{'' if moment.found == (NOTHING,) else ' (replayed)'}, then {moment.status}"
    return f"202, then {moment.status}"
