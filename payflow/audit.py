"""The audit log: who did what, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from payflow import document as read


@dataclass(frozen=True, slots=True)
class Subject:
    """What an action concerned: its kind and its id."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One action. `actor_id` is None for an unknown caller and for the command line of a server."""

    id: str
    at: datetime
    service: str
    action: str
    actor_id: str | None
    user_id: str | None
    subject: Subject | None
    detail: Mapping[str, Any]
    request_id: str

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        subject = document["subject"]
        return cls(
            id=document["id"],
            at=read.moment(document["at"]),
            service=document["service"],
            action=document["action"],
            actor_id=document["actor_id"],
            user_id=document.get("user_id"),
            subject=Subject(subject["kind"], subject["id"]) if subject else None,
            detail=document["detail"],
            request_id=document["request_id"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLog:
    """Entries, newest first; those of the `unavailable` services are missing. `document` is the JSON.

    `has_more` is whether older entries were left out because of a limit.
    """

    items: tuple[AuditEntry, ...]
    unavailable: tuple[str, ...]
    has_more: bool
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(
            items=tuple(AuditEntry.read(item) for item in document["items"]),
            unavailable=tuple(document["unavailable"]),
            has_more=document["has_more"],
            document=document,
        )
