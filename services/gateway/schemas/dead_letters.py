"""Dead letters and their replay."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints

from services.gateway.schemas.types import PageQuery, Reply, Request

OUTCOMES_MAX = 64
"""Of so many transfers of one dead letter the ledger is asked: as many as a message carries."""
QueueName = Literal["transfers.requested", "notifications.transfers-finalized"]
DeadLetterState = Literal["waiting", "replayed", "discarded"]


class DeadLetterQuery(PageQuery):
    """Which dead letters."""

    queue: QueueName | None = Field(None, description="Of this queue alone.")
    state: Literal["waiting", "replayed", "discarded", "any"] = Field(
        "waiting", description="Those that wait, unless it is given."
    )


class ReplayQuery(Request):
    """Whether to do it."""

    dry_run: Literal["true", "false"] = Field("false", description="`true` only tells what a replay would do.")


class Discard(Request):
    """Why nobody has to look at it any more."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)]


class DeadLetter(Reply):
    """What a consumer could not do. `seen` counts the messages that told of it while it waited, `attempts` the tries."""

    id: UUID
    queue: QueueName
    state: DeadLetterState
    reason: str
    attempts: int
    message_id: str
    transfer_ids: list[UUID]
    request_ids: list[str]
    seen: int
    first_seen_at: AwareDatetime
    last_seen_at: AwareDatetime
    replays: int
    replayed_at: AwareDatetime | None
    discarded_at: AwareDatetime | None
    discard_reason: str | None


class DeadLetterDetail(DeadLetter):
    """A dead letter with the message: as text, null when it is none, and its very bytes."""

    body: str | None
    body_base64: str


class DeadLetterPage(Reply):
    """Dead letters, newest first."""

    items: list[DeadLetter]
    next_cursor: str | None
    unavailable: list[str] = Field(
        description="Services that did not answer within 1 s: theirs come with a later page."
    )


class ReplayedTransfer(Reply):
    """What a replay does to one transfer: a machine word and a sentence."""

    transfer_id: UUID
    status: str | None = Field(
        description="As it was just before: of the transfer, or `told`; null when it is unknown."
    )
    effect: Literal["nothing", "post", "void", "tell", "dead_letter", "refused"]
    detail: str
    outcome: Literal["posted", "rejected", "voided"] | None
    outcome_known: bool | None = Field(description="Whether the ledger has decided; null when it gave no answer.")


class Replay(Reply):
    """What a replay did or, with `dry_run`, would do. One that is not `replayable` is refused."""

    dead_letter: DeadLetter
    dry_run: bool
    replayable: bool
    detail: str
    transfers: list[ReplayedTransfer]
