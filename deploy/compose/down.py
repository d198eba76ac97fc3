"""`make compose-down`: stop and remove the containers; the data stay unless VOLUMES=1."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from deploy.compose.project import PROFILES, Project
from deploy.programs import DeployError


def down(caller: Mapping[str, str]) -> None:
    """Stop everything and remove containers and networks, and the volumes if VOLUMES=1 and the user agrees.

    Raises:
        DeployError: the user does not agree, and nothing was changed; or Docker failed.
    """
    project = Project(caller, profiles=PROFILES)
    project.require_engine()
    volumes = project.volumes() if caller.get("VOLUMES") == "1" else []
    if (
        volumes
        and caller.get("YES") != "1"
        and not _agrees(f"Remove {', '.join(volumes)} and all the data in them? [y/N] ")
    ):
        raise DeployError("nothing was removed")
    reason = project.follow("down", "--remove-orphans", *(["--volumes"] if volumes else []))
    if reason is not None:
        raise DeployError(f"docker compose down failed: {reason}")
    kept = [] if volumes else project.volumes()
    print(f"stopped; the data stay in {', '.join(kept)}" if kept else "stopped")


def _agrees(question: str) -> bool:
    if not sys.stdin.isatty():
        return False
    return input(question).strip().lower() in {"y", "yes"}
