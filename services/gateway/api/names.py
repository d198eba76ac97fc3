"""People's names: in full for those who had to do with them, masked for those who only ask."""

from __future__ import annotations

from collections.abc import Collection

from services.chassis.client import Upstream
from services.contracts.refusal import Refusal

NAMES_SECONDS = 1.0
"""A name is a courtesy: nobody waits longer for it."""


def mask(name: str) -> str:
    """`Bob Stone` as `B*** S***`: enough to notice a mistyped address, too little to learn who has it."""
    return " ".join(f"{word[0]}***" for word in name.split())


async def find(auth: Upstream, user_ids: Collection[str]) -> dict[str, str]:
    """Names by user id; those that are unknown, or all when auth is away, are left out."""
    if not user_ids:
        return {}
    try:
        answer = await auth.call("POST", "/internal/names", body={"ids": sorted(set(user_ids))}, seconds=NAMES_SECONDS)
    except Refusal:
        return {}
    return {item["user_id"]: item["name"] for item in answer["items"]}
