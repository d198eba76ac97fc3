"""Periods of lists, files and reports: `from` is inclusive, `to` is exclusive, everywhere.

In SQL: `at >= $from AND at < $to`. Adjacent periods therefore contain every row exactly once, even where many rows share the
instant between them. `from` equal to `to` is an empty period.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator


def read_moment(text: Any) -> datetime:
    """Parse a time with a zone; in UTC.

    Raises:
        ValueError
    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        pass
    raise ValueError("must be a time with a zone, as in 2030-01-31T12:00:00Z")


Moment = Annotated[datetime, BeforeValidator(read_moment), WithJsonSchema({"type": "string", "format": "date-time"})]


class Period(NamedTuple):
    """From `since`, inclusive, to `until`, exclusive; None: unbounded."""

    since: datetime | None = None
    until: datetime | None = None


def upper_bound(
    until: datetime | None, below: tuple[datetime, object] | None, lowest_id: object
) -> tuple[datetime | None, object]:
    """The lower of the end of a period and a position (time, id) in a list; `lowest_id` is below all ids of the list.

    There must be one bound: an index scan starts at one bound and would read all rows between it and the other.
    """
    if until is not None and (below is None or until <= below[0]):
        return until, lowest_id
    return below or (None, None)


class PeriodParameters(BaseModel):
    """The parameters `from` and `to` of a list; a base class of query models."""

    from_: Moment | None = Field(None, alias="from", description="At or after this time.")
    to: Moment | None = Field(None, description="Before this time.")

    @field_validator("to")
    @classmethod
    def _in_order(cls, to: datetime | None, info: ValidationInfo) -> datetime | None:
        since = info.data.get("from_")
        if since is not None and to is not None and to < since:
            raise ValueError("must not be before `from`")
        return to

    @property
    def period(self) -> Period:
        """Both bounds."""
        return Period(self.from_, self.to)
