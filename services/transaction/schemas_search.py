"""JSON of the search for operators."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field, TypeAdapter

from services.chassis.period import PeriodParameters
from services.contracts import limits
from services.contracts.messages import format_time
from services.transaction import schemas
from services.transaction.commands_search import Criteria, Found, Search


class SearchQuery(PeriodParameters):
    """What is known about the transfer. The gateway checks the combination."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: UUID | None = None
    idempotency_key: Annotated[str, Field(max_length=limits.IDEMPOTENCY_KEY_LENGTH_MAX)] | None = None
    user_id: UUID | None = None
    request_id: Annotated[str, Field(max_length=limits.REQUEST_ID_LENGTH_MAX)] | None = None
    pending_seconds: Annotated[float, Field(ge=0)] = 0.0
    limit: Annotated[int, Field(ge=1, le=limits.PAGE_MAX)] = limits.PAGE_DEFAULT
    cursor: str | None = None

    @property
    def criteria(self) -> Criteria:
        """The criteria; without any other, the age of PENDING transfers."""
        known = (self.id, self.idempotency_key, self.user_id, self.request_id)
        return Criteria(
            *known,
            self.pending_seconds if known == (None,) * len(known) else None,
            *self.period,
            below=schemas.decode_cursor(self.cursor),
            limit=self.limit,
        )


SEARCH = TypeAdapter(SearchQuery)


def search(found: Search, criteria: Criteria) -> dict[str, Any]:
    """A page of what was found."""
    items = found.items[: criteria.limit]
    has_more = len(found.items) > criteria.limit
    # Only the transfers of a user have pages; the other searches return the first page.
    is_paged = criteria.user_id is not None and criteria.idempotency_key is None
    searched_from = found.searched_from
    return {
        "items": [_item(one) for one in items],
        "next_cursor": schemas.encode_cursor(items[-1].transfer) if has_more and is_paged else None,
        "has_more": has_more,
        "searched_from": None if searched_from is None else format_time(searched_from),
    }


def _item(found: Found) -> dict[str, Any]:
    transfer, progress = found.transfer, found.progress
    return schemas.transfer(transfer) | {
        "user_id": str(transfer.user_id),
        "recipient_id": None if transfer.recipient_id is None else str(transfer.recipient_id),
        "request_id": found.request_id,
        "waiting_for": None if progress is None else progress.waiting_for,
        "conflicted": found.is_conflicted,
        "summary": None if progress is None else progress.summary,
    }
