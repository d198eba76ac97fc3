"""Names of users: in full for their counterparties, masked for everyone else."""

from __future__ import annotations

from collections.abc import Collection

from services.contracts.refusal import Refusal
from services.gateway.clients.auth import AuthClient

NAMES_SECONDS = 1.0
"""Names are optional; no response waits longer for them."""


def mask(name: str) -> str:
    """`Bob Stone` as `B*** S***`: enough to detect a mistyped address, too little to identify its owner."""
    return " ".join(f"{word[0]}***" for word in name.split())


async def find(auth: AuthClient, user_ids: Collection[str]) -> dict[str, str]:
    """Names by user id; unknown ids, or all if auth is unavailable, are left out."""
    if not user_ids:
        return {}
    try:
        return await auth.find_names(user_ids, seconds=NAMES_SECONDS)
    except Refusal:
        return {}
