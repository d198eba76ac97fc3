"""The format of API keys."""

from __future__ import annotations

import re

from services.contracts import api_keys


def test_key_is_recognised_and_nothing_else() -> None:
    """A new key is well-formed; with any character changed, removed or added it is not, which is detected offline."""
    key = api_keys.new_key().text
    damaged = [key[:at] + ("x" if character != "x" else "y") + key[at + 1 :] for at, character in enumerate(key)]

    assert api_keys.is_well_formed(key)
    assert len(key) == api_keys.LENGTH
    for text in (*damaged, key[:-1], key + "0", f" {key}", f"{key}\n", key.upper(), "", "pfk_", "é" * len(key)):
        assert not api_keys.is_well_formed(text), text


def test_keys_are_random_and_their_prefix_is_part_of_them() -> None:
    """No two keys share their prefix or their secret; the secret has 256 bits; the prefix reveals nothing of it."""
    keys = [api_keys.new_key() for _ in range(1000)]

    assert 1000 == len({key.prefix for key in keys}) == len({key.text.rpartition("_")[2] for key in keys})
    assert all(key.text.startswith(f"{key.prefix}_") for key in keys)
    assert api_keys.SECRET_LENGTH * 5.954 >= 256
    assert all(re.fullmatch(r"pfk_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}", key.text) for key in keys)
