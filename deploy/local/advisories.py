"""What the package registry itself tells of weaknesses: PyPI's page of a package lists those of its newest release.

Second best to the database that pip-audit asks, and reached wherever packages can be installed: it knows the newest release
of each package and no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import aiohttp

PAGE = "https://pypi.org/pypi/{name}/json"
ATTEMPTS_MAX = 3
CALLS_MAX = 8
CALL_SECONDS = 60
"""Pages of packages with many releases have ten megabytes."""


def complete(
    report: Mapping[str, Any], locked: Mapping[str, str], pages: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The report of pip-audit with what it skipped filled in by these pages, where they speak of the locked version."""

    def filled(package: Mapping[str, Any]) -> Mapping[str, Any]:
        name = package["name"]
        page = pages.get(name)
        if "skip_reason" not in package or page is None or page["info"]["version"] != locked.get(name):
            return package
        return {"name": name, "version": locked[name], "vulns": _weaknesses(page)}

    return {**report, "dependencies": [filled(package) for package in report["dependencies"]]}


def _weaknesses(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    # One weakness may have several entries, each naming the others: the first of them speaks for all.
    told = [weakness for weakness in page["vulnerabilities"] if not weakness["withdrawn"]]
    ids = {weakness["id"] for weakness in told}
    return [
        {"id": weakness["id"], "aliases": weakness["aliases"], "fix_versions": weakness["fixed_in"]}
        for weakness in told
        if weakness["id"] == min({weakness["id"], *weakness["aliases"]} & ids)
    ]


def fetch(names: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """The pages of these packages; without those that cannot be had."""
    return asyncio.run(_fetch(list(names)))


async def _fetch(names: list[str]) -> dict[str, Mapping[str, Any]]:
    turns = asyncio.Semaphore(CALLS_MAX)
    timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
        pages = await asyncio.gather(*(_page(session, turns, name) for name in names))
    return {name: page for name, page in zip(names, pages, strict=True) if page is not None}


async def _page(session: aiohttp.ClientSession, turns: asyncio.Semaphore, name: str) -> Mapping[str, Any] | None:
    for _ in range(ATTEMPTS_MAX):
        try:
            async with turns, session.get(PAGE.format(name=name)) as response:
                response.raise_for_status()
                page: Mapping[str, Any] = await response.json()
                return page
        except (aiohttp.ClientError, TimeoutError):
            continue
    return None
