"""The page of problems."""

from __future__ import annotations

from tests.harness import write_problems


def test_page_lists_every_code() -> None:
    """docs/problems.md is what the code documents; `make problems` writes it anew."""
    assert write_problems.page() == write_problems.DOCUMENT.read_text()
