"""Comparing the text of a document with the output of its examples."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import guide


@pytest.mark.parametrize(
    ("promised", "printed", "expected"),
    [
        ("HTTP/1.1 202 Accepted\n…\n", "HTTP/1.1 202 Accepted\nDate: x\n\n{}\n", True),
        ('{"id":"…","status":"PENDING",…}', '{"id":"1","status":"PENDING","amount":1}\n', True),
        ('{"id":"…","status":"PENDING",…}', '{"id":"1","status":"FAILED","amount":1}\n', False),
        ("a\n…\nz", "a\nb\nc\nz", True),
        ("a\n…\nz", "a\nb\nc", False),
        ("name  status", "name         status", True),
        ("", "anything", False),
    ],
)
def test_matches(promised: str, printed: str, expected: bool) -> None:
    """`…` matches anything, runs of spaces match each other, everything else matches itself."""
    assert expected is guide.matches(promised, printed)


def test_blocks(tmp_path: Path) -> None:
    """Blocks come in order, with their language and first line."""
    document = tmp_path / "a.md"
    document.write_text("# A\n\n```sh\necho 1\n```\n\ntext\n\n```python\nx = 1\n```\n")

    assert [("sh", "echo 1\n", 4), ("python", "x = 1\n", 10)] == [
        (block.kind, block.text, block.line) for block in guide.blocks(document)
    ]
