"""The on-call handbook leads from every alert to its page, and its figures are those of the code."""

from __future__ import annotations

import re
from typing import Any

import pytest

from deploy import facts
from deploy.local.home import REPOSITORY
from tests.harness.monitoring import alerts

HANDBOOK = REPOSITORY / "docs" / "operations"


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_the_index_names_the_page_of_an_alert(alert: dict[str, Any]) -> None:
    """The row of the alert links to the runbook that its notification names."""
    rows = [line for line in (HANDBOOK / "README.md").read_text().splitlines() if f"`{alert['alert']}`" in line]

    assert [alert["annotations"]["runbook"]] == [
        f"docs/operations/{link}" for row in rows for link in re.findall(r"\]\(([\w./-]+)\)", row)
    ]


def test_every_page_is_in_the_index() -> None:
    """No page of the folder is found by chance only."""
    text = (HANDBOOK / "README.md").read_text()
    pages = {path.relative_to(HANDBOOK).as_posix() for path in HANDBOOK.rglob("*.md")} - {"README.md"}

    assert set() == {page for page in pages if f"]({page}" not in text}


def test_the_connections_of_a_replica() -> None:
    """The table of the capacity page has every role that opens connections."""
    page = (HANDBOOK / "capacity.md").read_text().partition("## Connections to PostgreSQL")[2]
    documented = {name: int(count) for name, count in re.findall(r"^\| `([\w-]+)` \| (\d+) \|$", page, re.MULTILINE)}

    opened = {name: role.database_connections_max for name, role in facts.ROLES.items()}
    assert documented == {name: count for name, count in opened.items() if count}
