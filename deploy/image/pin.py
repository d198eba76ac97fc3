"""`make pin-images`: look up the digest of each image and write it wherever the image is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deploy import programs
from deploy.image import docker, lock

LOOK_UP_SECONDS_MAX = 60.0


def look_up(image: lock.Image) -> str:
    """The digest of an image's index, from its registry.

    Raises:
        DeployError: Docker is missing, or the registry did not return it.
    """
    command = [
        docker.require_buildx(),
        "buildx",
        "imagetools",
        "inspect",
        image.tagged,
        "--format",
        "{{.Manifest.Digest}}",
    ]
    return programs.output(command, what=f"looking up {image.tagged}", seconds_max=LOOK_UP_SECONDS_MAX).strip()


def pin(root: Path, look_up: Callable[[lock.Image], str] = look_up) -> list[lock.Image]:
    """Pin all images of the lock below `root`. Nothing is written unless all were found.

    Returns:
        The images whose digest changed.
    """
    path = root / lock.LOCK.relative_to(lock.REPOSITORY)
    before = lock.read(path)
    after = {name: image.pinned_to(look_up(image)) for name, image in before.items()}
    lock.write(after, path)
    for user in lock.users(root):
        text = user.read_text()
        updated = lock.update(text, after.values())
        if updated != text:
            user.write_text(updated)
    return [image for name, image in after.items() if image != before[name]]
