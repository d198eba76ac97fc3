"""Puts the image of the roles where MicroK8s pulls it from: its add-on registry."""

from __future__ import annotations

import os
import subprocess

from deploy import programs
from deploy.image import build, docker
from deploy.k8s.rendering import Image
from deploy.programs import DeployError

REPOSITORY = "localhost:32000/payflow"
"""By this name, not by an address: MicroK8s accepts plain HTTP from it."""

REVISION_LENGTH = 12
GIVEN = "PAYFLOW_IMAGE"


def given() -> Image | None:
    """The image that the caller names: then none is built."""
    reference = os.environ.get(GIVEN)
    return Image.parse(reference) if reference else None


def require_builder() -> None:
    """Fail before anything is done if there is nothing to build the image with.

    Raises:
        DeployError: Docker is missing or does not run.
    """
    try:
        docker.require_engine()
    except DeployError as error:
        raise DeployError(f"{error}; or name an image of a registry: {GIVEN}=registry/payflow:tag") from None


def publish() -> Image:
    """Build the image from this tree and push it; returns it by its digest.

    Raises:
        DeployError: it could not be built or pushed.
    """
    build.build()
    command = docker.find()
    reference = f"{REPOSITORY}:{tag(build.revision())}"
    programs.output([command, "tag", build.tag(), reference], what="naming the image")
    if subprocess.run([command, "push", reference], check=False).returncode != 0:
        raise DeployError(f"docker could not push {reference}: see above")
    template = "{{range .RepoDigests}}{{println .}}{{end}}"
    digests = programs.output([command, "image", "inspect", "--format", template, reference], what="reading the digest")
    return pushed(reference, digests)


def tag(revision: str) -> str:
    """The tag for a revision; a tree with changes is marked."""
    commit, _, changed = revision.partition("-")
    return commit[:REVISION_LENGTH] + ("-dirty" if changed else "")


def pushed(reference: str, digests: str) -> Image:
    """The image as it was pushed, from the digests that Docker lists for it.

    Raises:
        DeployError: the digest of this repository is not among them.
    """
    found = [line for line in digests.split() if line.startswith(f"{REPOSITORY}@")]
    if len(found) != 1:
        raise DeployError(f"docker names no digest of {reference}: push it again")
    return Image.parse(f"{reference}@{found[0].partition('@')[2]}")
