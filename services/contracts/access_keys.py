"""The distribution of the keys of access tokens: when auth can sign with a new key."""

from __future__ import annotations

KEYS_REFRESHED_EVERY_SECONDS = 60.0
"""How often a verifier of access tokens fetches the published keys."""

KEYS_LEARNED_WITHIN_SECONDS = 2 * KEYS_REFRESHED_EVERY_SECONDS + 10.0
"""When every verifier knows a published key, even if one of its fetches has failed."""
