"""The generated page of problem codes."""

from __future__ import annotations

from tests.harness import write_problems


def test_page_lists_every_code() -> None:
    """docs/problems.md matches the code; `make problems` regenerates it."""
    assert write_problems.page() == write_problems.DOCUMENT.read_text()
