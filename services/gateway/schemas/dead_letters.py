"""Dead letters and their replay."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints

from services.contracts import limits
from services.gateway.schemas.types import PageQuery, Request, Response

OUTCOMES_MAX = 64
"""The most transfers of one dead letter whose outcomes are read: as many as a message carries."""
QueueName = Literal["transfers.requested", "notifications.transfers-finalized"]
DeadLetterState = Literal["waiting", "replayed", "discarded"]


class DeadLetterQuery(PageQuery):
    """Dead letter query."""

    queue: QueueName | None = Field(None, description="Only this queue.")
    state: Literal["waiting", "replayed", "discarded", "any"] = Field(
        "waiting", description="The state; `waiting` by default."
    )


class ReplayQuery(Request):
    """Replay options."""

    dry_run: Literal["true", "false"] = Field("false", description="`true` only previews the replay.")


class Discard(Request):
    """Discard request."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=limits.DISCARD_REASON_LENGTH_MAX)]


class DeadLetter(Response):
    """A message that a consumer could not process. `seen` counts its copies, `attempts` the delivery attempts."""

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
    """A dead letter with the body of its message: as text, null if it is not text, and as bytes."""

    body: str | None
    body_base64: str


class DeadLetterPage(Response):
    """A page of dead letters, newest first."""

    items: list[DeadLetter]
    next_cursor: str | None
    unavailable: list[str] = Field(
        description="Services that did not respond within 1 s; their dead letters come with a later page."
    )


class ReplayedTransfer(Response):
    """The effect of a replay on one transfer: a code and a sentence."""

    transfer_id: UUID
    status: str | None = Field(
        description="The status before the replay: of the transfer, or `notified` or `not_notified`; null if unknown."
    )
    effect: Literal["nothing", "post", "void", "notify", "dead_letter", "refused"]
    detail: str
    outcome: Literal["posted", "rejected", "voided"] | None
    outcome_known: bool | None = Field(
        description="Whether the ledger has decided; null if the wallet service did not respond."
    )


class ReplayResult(Response):
    """The result of a replay or, with `dry_run`, its preview. If it is not `replayable`, the replay is refused."""

    dead_letter: DeadLetter
    dry_run: bool
    replayable: bool
    detail: str
    transfers: list[ReplayedTransfer]
