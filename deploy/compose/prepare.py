"""The files that the containers of compose.yaml mount: secrets, and copies of configuration that their users can read."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

from deploy.local import files
from deploy.secrets import files as secrets

REPOSITORY = Path(__file__).resolve().parents[2]
COPIES = (
    "deploy/postgres/provision.sql",
    "deploy/postgres/pg_hba.conf",
    "deploy/compose/rabbitmq.conf",
    "deploy/backup/backup.sh",
)
SEED = "demo-seed.pyz"
SEED_MAIN = "deploy/compose/demo_seed.py"
SEED_MODULES = (
    "deploy/__init__.py",
    "deploy/programs.py",
    "deploy/local/__init__.py",
    "deploy/local/errors.py",
    "deploy/local/seed.py",
    "deploy/local/user.py",
)
"""The demo users are no part of the image: the job that creates them mounts these modules as one archive."""


def prepare(folder: Path) -> str:
    """Write everything that compose.yaml mounts below `folder`; missing secrets are generated, existing ones are kept.

    Returns a digest of all these files.

    Raises:
        DeployError: secrets.json is not valid JSON, or a value in it cannot be used.
    """
    secrets.write(folder)
    root = folder / "files"
    files.make_folder(root)
    for name in COPIES:
        _write(root / Path(name).name, (REPOSITORY / name).read_bytes())
    _write(root / SEED, _seed_archive())
    return _digest([*(folder / "secrets").glob("*/*"), *root.iterdir()])


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(hashlib.sha256(path.name.encode()).digest() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _seed_archive() -> bytes:
    """A Python archive, the same bytes for the same sources."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for target, source in [("__main__.py", SEED_MAIN), *((name, name) for name in SEED_MODULES)]:
            archive.writestr(zipfile.ZipInfo(target), (REPOSITORY / source).read_bytes())
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    """Replace a file unless it is unchanged: a container that mounts it keeps what it started with."""
    if path.exists() and path.read_bytes() == content:
        return
    draft = path.with_name(f".{path.name}")
    draft.unlink(missing_ok=True)
    draft.write_bytes(content)
    draft.chmod(secrets.FILE_MODE)
    draft.replace(path)
