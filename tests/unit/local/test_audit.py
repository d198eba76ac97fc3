"""The verdict of `make audit`."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.local.advisories import complete
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


def _page(version: str, *weaknesses: dict[str, Any]) -> dict[str, Any]:
    return {"info": {"version": version}, "vulnerabilities": list(weaknesses)}


def _told(name: str, *aliases: str, withdrawn: str | None = None) -> dict[str, Any]:
    return {"id": name, "aliases": list(aliases), "fixed_in": ["3"], "withdrawn": withdrawn}


@pytest.mark.parametrize(
    ("page", "found"),
    [
        (_page("2"), ()),
        (_page("2", _told("PYSEC-2", withdrawn="2026-01-01")), ()),
        (
            _page("2", _told("PYSEC-2", "GHSA-2", "CVE-2"), _told("GHSA-2", "PYSEC-2", "CVE-2")),
            ("b 2: GHSA-2, mended in 3",),
        ),
        (_page("2", _told("PYSEC-2"), _told("PYSEC-3")), ("b 2: PYSEC-2, mended in 3", "b 2: PYSEC-3, mended in 3")),
    ],
)
def test_registry_tells_of_newest_releases(page: dict[str, Any], found: tuple[str, ...]) -> None:
    """What the database could not tell the registry may: each weakness once, under any of its names, unless withdrawn."""
    verdict = judge(complete({"dependencies": [CLEAN, SKIPPED]}, {"a": "1", "b": "2"}, {"b": page}), {})

    assert (found, ()) == (verdict.findings, verdict.unknown)


@pytest.mark.parametrize("pages", [{}, {"b": _page("3")}])
def test_registry_knows_no_older_release(pages: dict[str, Any]) -> None:
    """What is locked at an older release, or has no page, is not audited; what the database told is not asked again."""
    verdict = judge(complete({"dependencies": [WEAK, SKIPPED]}, {"b": "2", "c": "2"}, pages | {"c": _page("2")}), {})

    assert (("b",), 1) == (verdict.unknown, len(verdict.findings))
