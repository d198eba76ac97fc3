"""One list merged from several services, page by page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from services.chassis.body import InvalidRequest
from services.contracts.refusal import Unavailable
from services.gateway.api import merged_page


class Listing:
    """A service's own list; it can be unavailable."""

    def __init__(self, *times: int) -> None:
        self.rows = [(f"2026-01-01T00:00:{at:02}.000000Z", f"{at:03}") for at in times]
        self.is_unavailable = False

    def add(self, at: int) -> None:
        self.rows.append((f"2026-01-01T00:00:{at:02}.000000Z", f"{at:03}"))

    async def __call__(self, paging: Mapping[str, str]) -> Any:
        if self.is_unavailable:
            raise Unavailable
        before = tuple(paging["before"].split("/")) if "before" in paging else ("9", "")
        rows = sorted((row for row in self.rows if row < before), reverse=True)[: int(paging["limit"])]
        return {"items": [{"at": at, "id": identifier} for at, identifier in rows]}


async def walk(sources: Mapping[str, Listing], limit: int) -> list[dict[str, Any]]:
    """Every page."""
    pages, cursor = [], None
    while True:
        pages.append(await merged_page.read(sources, limit=limit, cursor=cursor))
        cursor = pages[-1]["next_cursor"]
        if cursor is None:
            return pages


def ids(*pages: Mapping[str, Any]) -> list[str]:
    return [item["id"] for page in pages for item in page["items"]]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 50])
async def test_every_row_once_in_order_of_time(limit: int) -> None:
    """With any page size, the pages together have each row of each service once, newest first."""
    sources = {"a": Listing(1, 4, 7, 9, 10), "b": Listing(2, 3, 8), "c": Listing()}

    assert ["010", "009", "008", "007", "004", "003", "002", "001"] == ids(*await walk(sources, limit))


async def test_new_rows_do_not_affect_later_pages() -> None:
    """Guarantee 59: a row that arrives between two pages is above them; nothing is skipped or repeated."""
    sources = {"a": Listing(1, 4, 7), "b": Listing(2, 3, 8)}
    first = await merged_page.read(sources, limit=2, cursor=None)
    sources["a"].add(50)
    sources["b"].add(51)
    rest = await merged_page.read(sources, limit=10, cursor=first["next_cursor"])

    assert (["008", "007"], ["004", "003", "002", "001"]) == (ids(first), ids(rest))


async def test_rows_of_an_unavailable_service_come_later() -> None:
    """Rows of an unavailable service are not skipped: the page names the service, and a later page has them."""
    sources = {"a": Listing(1, 4, 7), "b": Listing(2, 9)}
    sources["b"].is_unavailable = True
    first = await merged_page.read(sources, limit=2, cursor=None)
    sources["b"].is_unavailable = False
    rest = await merged_page.read(sources, limit=10, cursor=first["next_cursor"])

    assert (["b"], []) == (first["unavailable"], rest["unavailable"])
    assert (["007", "004"], ["009", "002", "001"]) == (ids(first), ids(rest))


@pytest.mark.parametrize("cursor", ["x", "e30x", "W10", "eyJ6IjoieCJ9", "eyJhIjoxfQ", "Z" * 400])
async def test_invalid_cursors_are_refused(cursor: str) -> None:
    """An invalid cursor is refused, naming the field."""
    with pytest.raises(InvalidRequest) as refused:
        await merged_page.read({"a": Listing(1)}, limit=2, cursor=cursor)

    assert ["cursor"] == [error.field for error in refused.value.errors]
