from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from deploy.programs import DeployError
from deploy.secrets.store import Secrets


def test_a_secret_is_generated_once(tmp_path: Path) -> None:
    """The same name returns the same password, also in the next process; another name another one."""
    path = tmp_path / "secrets.json"
    made = Secrets(path).password("postgres:payflow")

    assert Secrets(path).password("postgres:payflow") == made
    assert Secrets(path).password("redis") != made
    assert len(made) >= 32


def test_two_objects_of_one_file_keep_all_secrets(tmp_path: Path) -> None:
    """A secret that another object has stored since the file was read is neither replaced nor lost."""
    path = tmp_path / "secrets.json"
    path.write_text("{}")
    first, second = Secrets(path), Secrets(path)
    assert not first.has("rabbitmq")
    made = second.password("rabbitmq"), second.password("redis")

    assert first.password("rabbitmq") == made[0]
    first.password("auth_secret")

    assert (Secrets(path).password("rabbitmq"), Secrets(path).password("redis")) == made


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    """The file has mode 0600."""
    Secrets(tmp_path / "secrets.json").password("redis")

    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_the_public_key_verifies_what_the_private_key_signs(tmp_path: Path) -> None:
    """Both halves of an identity belong together and are 32 bytes."""
    secrets = Secrets(tmp_path / "secrets.json")
    seed = base64.b64decode(secrets.private_key("wallet"))
    public = base64.b64decode(secrets.public_key("wallet"))

    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(b"text")

    Ed25519PublicKey.from_public_bytes(public).verify(signature, b"text")
    assert secrets.private_key("wallet") != secrets.private_key("gateway")


def test_an_unreadable_file_is_an_error_and_stays(tmp_path: Path) -> None:
    """Passwords of existing data are never replaced by new ones."""
    path = tmp_path / "secrets.json"
    path.write_text('{"redis": ')

    with pytest.raises(DeployError, match="is not valid JSON"):
        Secrets(path).password("redis")

    assert path.read_text() == '{"redis": '
