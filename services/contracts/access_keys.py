"""How the keys of access tokens get about: what auth may rely on when it makes a new one sign."""

from __future__ import annotations

KEYS_REFRESHED_EVERY_SECONDS = 60.0
"""How often whoever verifies access tokens fetches the published keys."""

KEYS_LEARNED_WITHIN_SECONDS = 2 * KEYS_REFRESHED_EVERY_SECONDS + 10.0
"""How long after it was published everybody knows a key, even if one fetch of theirs failed."""
