"""Masked names."""

from __future__ import annotations

import pytest

from services.gateway.api.names import mask


@pytest.mark.parametrize(
    ("name", "masked"),
    [
        ("Bob Stone", "B*** S***"),
        ("Bob", "B***"),
        ("  Bob   van  Stone ", "B*** v*** S***"),
        ("Ö Ü", "Ö*** Ü***"),
        ("李小龍", "李***"),
        ("O'Neil-Smith", "O***"),
        ("", ""),
    ],
)
def test_mask_shows_initials_only(name: str, masked: str) -> None:
    """One letter of each word remains; the length of the words is hidden."""
    assert masked == mask(name)
