"""The verdict of `make audit`."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.local.audit import judge

CLEAN = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "not found"}
WEAK = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3"]}]}


@pytest.mark.parametrize(
    ("packages", "explained", "code"),
    [
        ([CLEAN], {}, 0),
        ([CLEAN, WEAK], {}, 1),
        ([CLEAN, WEAK], {"PYSEC-1": "not called"}, 0),
        ([CLEAN, WEAK], {"CVE-1": "not called"}, 0),
        ([CLEAN], {"PYSEC-1": "not called"}, 1),
        ([CLEAN, SKIPPED], {}, 2),
        ([SKIPPED, WEAK], {}, 1),
        ([SKIPPED], {"PYSEC-1": "not called"}, 2),
    ],
)
def test_verdict(packages: list[dict[str, Any]], explained: dict[str, str], code: int) -> None:
    """Clean only if every package was looked up, and each finding explained, and each explanation still needed."""
    assert code == judge({"dependencies": packages}, explained).exit_code


def test_what_is_told() -> None:
    """A finding names package, version, id and where it is mended; what was not looked up is not counted as clean."""
    verdict = judge({"dependencies": [CLEAN, SKIPPED, WEAK]}, {})

    assert ("c 2: PYSEC-1, mended in 3",) == verdict.findings
    assert (2, ("b",)) == (verdict.looked_up, verdict.unknown)
