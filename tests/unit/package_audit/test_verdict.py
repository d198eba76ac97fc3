"""The verdict of `make audit`."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.package_audit.__main__ import evaluate
from deploy.package_audit.advisories import complete

CLEAN = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "not found"}
VULNERABLE = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3"]}]}


@pytest.mark.parametrize(
    ("packages", "explained", "code"),
    [
        ([CLEAN], {}, 0),
        ([CLEAN, VULNERABLE], {}, 1),
        ([CLEAN, VULNERABLE], {"PYSEC-1": "not called"}, 0),
        ([CLEAN, VULNERABLE], {"CVE-1": "not called"}, 0),
        ([CLEAN], {"PYSEC-1": "not called"}, 1),
        ([CLEAN, SKIPPED], {}, 2),
        ([SKIPPED, VULNERABLE], {}, 1),
        ([SKIPPED], {"PYSEC-1": "not called"}, 2),
    ],
)
def test_verdict(packages: list[dict[str, Any]], explained: dict[str, str], code: int) -> None:
    """Clean only if every package was looked up, and each finding explained, and each explanation still needed."""
    assert code == evaluate({"dependencies": packages}, explained).exit_code


def test_what_is_entry() -> None:
    """A finding names package, version, id and the fixing release; a package that was not looked up is not clean."""
    verdict = evaluate({"dependencies": [CLEAN, SKIPPED, VULNERABLE]}, {})

    assert ("c 2: PYSEC-1, fixed in 3",) == verdict.findings
    assert (2, ("b",)) == (verdict.looked_up, verdict.unknown)


def _page(version: str, *entries: dict[str, Any]) -> dict[str, Any]:
    return {"info": {"version": version}, "vulnerabilities": list(entries)}


def _entry(name: str, *aliases: str, withdrawn: str | None = None) -> dict[str, Any]:
    return {"id": name, "aliases": list(aliases), "fixed_in": ["3"], "withdrawn": withdrawn}


@pytest.mark.parametrize(
    ("page", "found"),
    [
        (_page("2"), ()),
        (_page("2", _entry("PYSEC-2", withdrawn="2026-01-01")), ()),
        (
            _page("2", _entry("PYSEC-2", "GHSA-2", "CVE-2"), _entry("GHSA-2", "PYSEC-2", "CVE-2")),
            ("b 2: GHSA-2, fixed in 3",),
        ),
        (_page("2", _entry("PYSEC-2"), _entry("PYSEC-3")), ("b 2: PYSEC-2, fixed in 3", "b 2: PYSEC-3, fixed in 3")),
    ],
)
def test_the_registry_fills_in_newest_releases(page: dict[str, Any], found: tuple[str, ...]) -> None:
    """The registry fills in what the database lacks: each vulnerability once, under any of its names, unless withdrawn."""
    verdict = evaluate(complete({"dependencies": [CLEAN, SKIPPED]}, {"a": "1", "b": "2"}, {"b": page}), {})

    assert (found, ()) == (verdict.findings, verdict.unknown)


@pytest.mark.parametrize("pages", [{}, {"b": _page("3")}])
def test_the_registry_has_no_older_releases(pages: dict[str, Any]) -> None:
    """A package at an older release, or without a page, is not audited; a result of the database is not replaced."""
    verdict = evaluate(
        complete({"dependencies": [VULNERABLE, SKIPPED]}, {"b": "2", "c": "2"}, pages | {"c": _page("2")}), {}
    )

    assert (("b",), 1) == (verdict.unknown, len(verdict.findings))
