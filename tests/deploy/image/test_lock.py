"""images.lock: what is pinned, and that every file names the same image."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from deploy.image import build, lock, pin
from deploy.programs import DeployError

NOT_YET_PINNED = {
    *("python", "postgres", "rabbitmq", "redis"),
    *("prometheus", "alertmanager", "grafana", "node-exporter", "postgres-exporter", "redis-exporter", "cadvisor"),
    *("blackbox-exporter", "loki", "alloy"),
}
"""Images that have a tag only. `make pin-images` pins them on a machine with Docker and the internet; then the list shrinks."""

DIGEST = "sha256:" + "0123456789abcdef" * 4
OTHER_DIGEST = "sha256:" + "fedcba9876543210" * 4
ENTRY = "redis  docker.io/library/redis:7.4-bookworm  unpinned"


def test_every_image_is_pinned_or_listed_as_unpinned() -> None:
    """A new image without a digest has to be entered above, where it is seen."""
    assert {image.name for image in lock.read().values() if image.digest is None} <= NOT_YET_PINNED


PLACEHOLDERS = {
    ("deploy/k8s/components/rabbitmq-operator/cluster.yaml", "rabbitmq"),
    ("deploy/k8s/overlays/production/redis.yaml", "redis"),
}
"""Images of production, which the overlay replaces by those of site.env."""


def test_files_name_images_as_the_lock_does() -> None:
    """An image of a Compose file, a manifest or the Dockerfile is built here, or is one of the lock with its digest."""
    known = {image.reference for image in lock.read().values()}
    used = re.compile(r"^(?:\s*-?\s*image: *|ARG BASE=)[\"']?([^\s\"'#]+)", re.MULTILINE)
    unknown = {
        (path.relative_to(lock.REPOSITORY).as_posix(), name)
        for path in lock.users()
        for name in used.findall(path.read_text())
        if name not in known and not re.match(r"(\$\{PAYFLOW_IMAGE|payflow|localhost:32000/payflow)\b", name)
    }

    assert unknown == PLACEHOLDERS


@pytest.mark.parametrize(
    "line",
    [
        "redis  docker.io/library/redis:7.4-bookworm",
        "redis  docker.io/library/redis:7.4-bookworm  sha256:0123",
        "redis  docker.io/library/redis:7.4-bookworm  later",
        "redis  docker.io/library/redis  unpinned",
        "redis  docker.io/library/redis:latest  unpinned",
        "redis  redis:7.4-bookworm  unpinned",
        f"{ENTRY}\n{ENTRY}",
    ],
)
def test_malformed_lines_are_refused(tmp_path: Path, line: str) -> None:
    """A line without digest, tag or registry, with a tag that moves by itself, or a second time."""
    (tmp_path / "images.lock").write_text(f"# comment\n{line}\n")

    with pytest.raises(DeployError, match=r"images\.lock:[23] "):
        lock.read(tmp_path / "images.lock")


def test_pinning_writes_the_lock_and_every_user(tmp_path: Path) -> None:
    """The digest appears in the lock, in the Dockerfile and in manifests; pinning again replaces it; nothing else changes."""
    _copy(tmp_path, f"# kept\n{ENTRY}\n")
    manifest = tmp_path / "deploy" / "compose" / "compose.yaml"
    manifest.parent.mkdir()
    manifest.write_text(
        "image: docker.io/library/redis:7.4-bookworm\nother: docker.io/library/redis:7.4-bookworm-slim\n"
    )

    changed = pin.pin(tmp_path, lambda _: DIGEST)

    assert [f"docker.io/library/redis:7.4-bookworm@{DIGEST}"] == [image.reference for image in changed]
    assert f"image: {changed[0].reference}\nother: docker.io/library/redis:7.4-bookworm-slim\n" == manifest.read_text()
    assert (tmp_path / "deploy" / "image" / "images.lock").read_text().startswith("# kept\nredis ")
    assert [] == pin.pin(tmp_path, lambda _: DIGEST)
    pin.pin(tmp_path, lambda _: OTHER_DIGEST)
    assert OTHER_DIGEST in manifest.read_text()
    assert DIGEST not in manifest.read_text()


def test_a_digest_that_is_none_changes_nothing(tmp_path: Path) -> None:
    """What the registry returned must be a digest, for every image, before a file is written."""
    _copy(tmp_path, f"valkey  docker.io/valkey/valkey:8  unpinned\n{ENTRY}\n")

    with pytest.raises(DeployError, match="is not the digest"):
        pin.pin(tmp_path, lambda image: DIGEST if image.name == "valkey" else "<no value>")

    assert DIGEST not in (tmp_path / "deploy" / "image" / "images.lock").read_text()


def test_the_default_base_is_the_locked_one() -> None:
    """`docker build` without arguments uses the same base as `make image`."""
    assert f"ARG BASE={lock.read()['python'].reference}\n" in build.DOCKERFILE.read_text()


def _copy(root: Path, text: str) -> None:
    (root / "deploy" / "image").mkdir(parents=True)
    (root / "deploy" / "image" / "images.lock").write_text(text)
    shutil.copy(build.DOCKERFILE, root / "deploy" / "image" / "Dockerfile")
