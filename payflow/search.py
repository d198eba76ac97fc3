"""What an operator's search finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from payflow import document as read
from payflow.transfer import Transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTransfer:
    """A transfer with its users and its request. While it is PENDING: what it waits for, and the sentence for the customer.

    `conflicted`: only an operator can resolve it.
    """

    transfer: Transfer
    user_id: str
    recipient_id: str | None
    request_id: str
    waiting_for: str | None
    conflicted: bool
    summary: str | None

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(
            transfer=Transfer.read(document),
            user_id=document["user_id"],
            recipient_id=document.get("recipient_id"),
            request_id=document["request_id"],
            waiting_for=document.get("waiting_for"),
            conflicted=document.get("conflicted") is True,
            summary=document.get("summary"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What was found. `has_more`: more than the limit. `document` is the gateway's JSON.

    Transfers accepted before `searched_from` were not searched; None: all were.
    """

    items: tuple[FoundTransfer, ...]
    has_more: bool
    searched_from: datetime | None
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(
            items=tuple(map(FoundTransfer.read, document["items"])),
            has_more=document.get("has_more") is True,
            searched_from=read.moment_or_none(document.get("searched_from")),
            document=document,
        )
