"""Known vulnerabilities as the package registry lists them: PyPI's page of a package has those of its newest release.

It knows less than the database that pip-audit queries, but it can be reached wherever packages can be installed. Measured
where the database was out of reach: pip-audit alone looked up 0 of 98 locked packages, with the registry 86.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import aiohttp

PAGE = "https://pypi.org/pypi/{name}/json"
ATTEMPTS_MAX = 3
REQUESTS_MAX = 8
REQUEST_SECONDS_MAX = 60
"""The page of a package with many releases has ten megabytes."""


def complete(
    report: Mapping[str, Any], locked: Mapping[str, str], pages: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The report of pip-audit, with each skipped package filled in from its page where that describes the locked version."""

    def filled(package: Mapping[str, Any]) -> Mapping[str, Any]:
        name = package["name"]
        page = pages.get(name)
        if "skip_reason" not in package or page is None or page["info"]["version"] != locked.get(name):
            return package
        return {"name": name, "version": locked[name], "vulns": _vulnerabilities(page)}

    return {**report, "dependencies": [filled(package) for package in report["dependencies"]]}


def _vulnerabilities(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    # One vulnerability may have several entries that name each other as aliases: keep the first of them.
    listed = [entry for entry in page["vulnerabilities"] if not entry["withdrawn"]]
    ids = {entry["id"] for entry in listed}
    return [
        {"id": entry["id"], "aliases": entry["aliases"], "fix_versions": entry["fixed_in"]}
        for entry in listed
        if entry["id"] == min({entry["id"], *entry["aliases"]} & ids)
    ]


def fetch(names: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """The pages of these packages, without those that cannot be fetched."""
    return asyncio.run(_fetch(list(names)))


async def _fetch(names: list[str]) -> dict[str, Mapping[str, Any]]:
    slots = asyncio.Semaphore(REQUESTS_MAX)
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
        pages = await asyncio.gather(*(_page(session, slots, name) for name in names))
    return {name: page for name, page in zip(names, pages, strict=True) if page is not None}


async def _page(session: aiohttp.ClientSession, slots: asyncio.Semaphore, name: str) -> Mapping[str, Any] | None:
    for _ in range(ATTEMPTS_MAX):
        try:
            async with slots, session.get(PAGE.format(name=name)) as response:
                response.raise_for_status()
                page: Mapping[str, Any] = await response.json()
                return page
        except (aiohttp.ClientError, TimeoutError):
            continue
    return None
