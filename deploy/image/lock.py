"""images.lock: the images that are not built here, each with a tag and the digest that it is pinned to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.programs import DeployError

REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = Path(__file__).with_name("images.lock")
UNPINNED = "unpinned"

USED_BELOW = ("deploy", "monitoring")
"""The folders whose files may name an image."""
USED_IN = ("*.yaml", "*.yml", "Dockerfile")

_TAGGED = re.compile(r"[a-z0-9.-]+\.[a-z]+/[a-z0-9._/-]+:(?!latest\b)[\w][\w.-]*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LINE = re.compile(r"(?P<name>[a-z][a-z0-9-]*)\s+(?P<tagged>\S+)\s+(?P<digest>\S+)")


@dataclass(frozen=True, slots=True)
class Image:
    """One image. `tagged` is its full name with a tag, `digest` that of its index; None if it is not pinned."""

    name: str
    tagged: str
    digest: str | None

    @property
    def reference(self) -> str:
        """What a Compose file or a manifest names: with the digest once there is one."""
        return f"{self.tagged}@{self.digest}" if self.digest else self.tagged

    def pinned_to(self, digest: str) -> Image:
        """The same image with another digest.

        Raises:
            DeployError: it is not a digest.
        """
        if not _DIGEST.fullmatch(digest):
            raise DeployError(f"{digest!r} is not the digest of {self.tagged}")
        return replace(self, digest=digest)


def read(path: Path = LOCK) -> dict[str, Image]:
    """All images by name.

    Raises:
        DeployError: a line is malformed, or a name is there twice.
    """
    images: dict[str, Image] = {}
    for number, line in _entries(path.read_text()):
        match = _LINE.fullmatch(line)
        if match is None or not _TAGGED.fullmatch(match["tagged"]) or match["name"] in images:
            raise DeployError(f"{path.name}:{number} is not a new `name registry/image:tag digest`")
        if match["digest"] != UNPINNED and not _DIGEST.fullmatch(match["digest"]):
            raise DeployError(f"{path.name}:{number} has neither a sha256 digest nor the word {UNPINNED}")
        digest = None if match["digest"] == UNPINNED else match["digest"]
        images[match["name"]] = Image(match["name"], match["tagged"], digest)
    return images


def write(images: Mapping[str, Image], path: Path = LOCK) -> None:
    """Write the digests; comments and order stay."""
    lines = path.read_text().splitlines()
    for number, line in _entries(path.read_text()):
        image = images[line.split()[0]]
        lines[number - 1] = f"{image.name:<18} {image.tagged:<57} {image.digest or UNPINNED}"
    path.write_text("\n".join(lines) + "\n")


def users(root: Path = REPOSITORY) -> Iterator[Path]:
    """The files that may name an image."""
    for folder in USED_BELOW:
        for pattern in USED_IN:
            yield from sorted((root / folder).rglob(pattern))


def update(text: str, images: Iterable[Image]) -> str:
    """Let a text name these images by their present digests."""
    for image in images:
        text = re.sub(rf"{re.escape(image.tagged)}(@{_DIGEST.pattern})?(?![\w.@-])", image.reference, text)
    return text


def _entries(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            yield number, line.strip()
