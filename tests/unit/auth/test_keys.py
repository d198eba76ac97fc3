"""Signing keys: sealed at rest, identified by their fingerprint."""

from __future__ import annotations

import base64
import dataclasses
from uuid import UUID

import pytest

from services.auth import keyring
from services.auth.keyring import Keyring, StoredKey, WrongSecret, new_signing_key, public_jwk

SECRET = "a secret of this deployment, forty characters"


def test_sealed_key_can_be_opened() -> None:
    """A sealed key can be opened with the same secret, also by another process."""
    key = new_signing_key()

    stored = Keyring(SECRET).seal(key)
    opened = Keyring(SECRET).open(stored)

    assert key.kid == opened.kid
    assert key.private_key.private_bytes_raw() == opened.private_key.private_bytes_raw()
    assert key.private_key.private_bytes_raw() not in stored.private_key_sealed


def test_stored_secrets_stay_readable() -> None:
    """Bytes sealed by an earlier version can be opened: the derivation of the keys must not change."""
    keys, row = Keyring("kEu2-Zb9w_tQ4xHc8-Vn1r_Lm6yPd3-Gs5j"), UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    nonce = "000102030405060708090a0b"
    token = bytes.fromhex(f"{nonce}db731238ae3ef071a5466371b4b8ce80f3171695823861")
    factor = bytes.fromhex(f"{nonce}015b9a394607db6d149a7054c0f9817854d6e2958d87f8317771c38222118d3a016e24e1")
    key = bytes.fromhex(
        f"{nonce}3aeb2d95a3477f516bc485bbbaac887949d910da624e92ea32b895d8056d031a73fab0af5266e23201e99be34c60a298"
    )

    assert "a token" == keys.open_token(token, email_id=row)
    assert b"12345678901234567890" == keys.open_factor(factor, row)
    assert bytes(32) == keys.open(StoredKey("kid", b"", key)).private_key.private_bytes_raw()


def test_sealing_twice_gives_different_bytes() -> None:
    """Each sealing has its own nonce."""
    key, keyring = new_signing_key(), Keyring(SECRET)

    assert keyring.seal(key).private_key_sealed != keyring.seal(key).private_key_sealed


def test_other_secret_is_rejected() -> None:
    """With another secret the stored key cannot be opened; the error names the variable but no secret."""
    stored = Keyring(SECRET).seal(new_signing_key())

    with pytest.raises(WrongSecret, match="PAYFLOW_AUTH_SECRET") as refused:
        Keyring(SECRET + "!").open(stored)

    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("position", [0, 12, -1])
def test_altered_key_is_rejected(position: int) -> None:
    """A flipped bit in nonce, text or tag is detected."""
    keyring = Keyring(SECRET)
    stored = keyring.seal(new_signing_key())
    sealed = bytearray(stored.private_key_sealed)
    sealed[position] ^= 1

    with pytest.raises(WrongSecret):
        keyring.open(dataclasses.replace(stored, private_key_sealed=bytes(sealed)))


def test_key_cannot_be_moved_to_another_kid() -> None:
    """A sealed key that is moved to the row of another key cannot be opened."""
    keyring = Keyring(SECRET)
    stored = keyring.seal(new_signing_key())

    with pytest.raises(WrongSecret):
        keyring.open(dataclasses.replace(stored, kid=new_signing_key().kid))


def test_public_jwk_and_fingerprint_are_those_of_the_standards() -> None:
    """The example key of RFC 8037 (A.2) has the fingerprint of its A.3."""
    text = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    public_key = base64.urlsafe_b64decode(text + "=")
    kid = keyring._fingerprint(public_key)

    assert kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert {"kty": "OKP", "crv": "Ed25519", "x": text, "kid": kid, "use": "sig", "alg": "EdDSA"} == public_jwk(
        StoredKey(kid, public_key, b"")
    )
