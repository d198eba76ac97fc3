"""Signing keys: sealed at rest, named by their fingerprint."""

from __future__ import annotations

import base64
import dataclasses

import pytest

from services.auth import keyring
from services.auth.keyring import StoredKey, Vault, WrongSecret

SECRET = "a secret of this deployment, forty characters"


def test_sealed_key_opens_again() -> None:
    """What was sealed with a secret is opened with it, by another process too."""
    key = keyring.new_key()

    stored = Vault(SECRET).seal(key)
    opened = Vault(SECRET).open(stored)

    assert key.kid == opened.kid
    assert key.private_key.private_bytes_raw() == opened.private_key.private_bytes_raw()
    assert key.private_key.private_bytes_raw() not in stored.private_key_sealed


def test_sealing_twice_looks_different() -> None:
    """Each sealing has its own nonce."""
    key, vault = keyring.new_key(), Vault(SECRET)

    assert vault.seal(key).private_key_sealed != vault.seal(key).private_key_sealed


def test_other_secret_opens_nothing() -> None:
    """With another secret the stored key stays shut, and the error names the variable but no secret."""
    stored = Vault(SECRET).seal(keyring.new_key())

    with pytest.raises(WrongSecret, match="PAYFLOW_AUTH_SECRET") as refused:
        Vault(SECRET + "!").open(stored)

    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("position", [0, 12, -1])
def test_altered_key_does_not_open(position: int) -> None:
    """One flipped bit in nonce, text or tag is noticed."""
    vault = Vault(SECRET)
    stored = vault.seal(keyring.new_key())
    sealed = bytearray(stored.private_key_sealed)
    sealed[position] ^= 1

    with pytest.raises(WrongSecret):
        vault.open(dataclasses.replace(stored, private_key_sealed=bytes(sealed)))


def test_key_cannot_be_moved_to_another_kid() -> None:
    """A sealed key put into another key's row does not open."""
    vault = Vault(SECRET)
    stored = vault.seal(keyring.new_key())

    with pytest.raises(WrongSecret):
        vault.open(dataclasses.replace(stored, kid=keyring.new_key().kid))


def test_public_jwk_and_fingerprint_are_those_of_the_standards() -> None:
    """The example key of RFC 8037 (A.2) has the fingerprint of its A.3."""
    text = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    public_key = base64.urlsafe_b64decode(text + "=")
    kid = keyring._fingerprint(public_key)

    assert kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert {"kty": "OKP", "crv": "Ed25519", "x": text, "kid": kid, "use": "sig", "alg": "EdDSA"} == keyring.public_jwk(
        StoredKey(kid, public_key, b"")
    )
