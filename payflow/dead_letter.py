"""Dead letters: messages that a consumer could not process, and their replay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from payflow import document as read


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that could not be processed. `document` is the gateway's JSON.

    `state` is `waiting`, `replayed` or `discarded`; `seen` counts the deliveries, `attempts` the attempts to process it.
    """

    id: str
    queue: str
    state: str
    reason: str
    attempts: int
    seen: int
    message_id: str
    transfer_ids: tuple[str, ...]
    request_ids: tuple[str, ...]
    first_seen_at: datetime
    last_seen_at: datetime
    replays: int
    replayed_at: datetime | None
    discarded_at: datetime | None
    discard_reason: str | None
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(**_fields(document))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterDetail(DeadLetter):
    """A dead letter with the body of its message: as text, None if it is not text, and as bytes in base64."""

    body: str | None
    body_base64: str

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(**_fields(document), body=document["body"], body_base64=document["body_base64"])


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterList:
    """Dead letters, newest first; those of the `unavailable` services are missing. `document` is the JSON."""

    items: tuple[DeadLetter, ...]
    unavailable: tuple[str, ...]
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(
            items=tuple(DeadLetter.read(item) for item in document["items"]),
            unavailable=tuple(document["unavailable"]),
            document=document,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedTransfer:
    """The effect of a replay on one transfer: a code and a sentence.

    `outcome` is that in the ledger; `outcome_known` is None if the ledger did not respond.
    """

    transfer_id: str
    status: str | None
    effect: str
    detail: str
    outcome: str | None
    outcome_known: bool | None

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(
            transfer_id=document["transfer_id"],
            status=document["status"],
            effect=document["effect"],
            detail=document["detail"],
            outcome=document["outcome"],
            outcome_known=document["outcome_known"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """The effect of a replay, or with `dry_run` the effect that it would have. `document` is the gateway's JSON."""

    dead_letter: DeadLetter
    dry_run: bool
    replayable: bool
    detail: str
    transfers: tuple[ReplayedTransfer, ...]
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(
            dead_letter=DeadLetter.read(document["dead_letter"]),
            dry_run=document["dry_run"] is True,
            replayable=document["replayable"] is True,
            detail=document["detail"],
            transfers=tuple(ReplayedTransfer.read(transfer) for transfer in document["transfers"]),
            document=document,
        )


def _fields(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": document["id"],
        "queue": document["queue"],
        "state": document["state"],
        "reason": document["reason"],
        "attempts": read.integer(document["attempts"]),
        "seen": read.integer(document["seen"]),
        "message_id": document["message_id"],
        "transfer_ids": tuple(document["transfer_ids"]),
        "request_ids": tuple(document["request_ids"]),
        "first_seen_at": read.moment(document["first_seen_at"]),
        "last_seen_at": read.moment(document["last_seen_at"]),
        "replays": read.integer(document["replays"]),
        "replayed_at": read.moment_or_none(document["replayed_at"]),
        "discarded_at": read.moment_or_none(document["discarded_at"]),
        "discard_reason": document["discard_reason"],
        "document": document,
    }
