"""Hashes of known locations."""

from __future__ import annotations

from services.auth.rules.known_locations import LocationHasher


def test_hashes_do_not_change() -> None:
    """A hash is the one of earlier versions: otherwise every known location would be forgotten."""
    hasher = LocationHasher("kEu2-Zb9w_tQ4xHc8-Vn1r_Lm6yPd3-Gs5j")

    assert "506fee4169e845fee2ec538d6e3bac0de176756bbc394385fbc63aae869700de" == (
        hasher.hash("alice@example.com", "192.0.2.7").hex()
    )
