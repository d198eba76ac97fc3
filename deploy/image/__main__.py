"""`python -m deploy.image build|pin|sbom`."""

from __future__ import annotations

import sys

from deploy import programs
from deploy.image import build, lock, pin, sbom
from deploy.programs import DeployError


def _build() -> None:
    build.build()


def _pin() -> None:
    changed = pin.pin(lock.REPOSITORY)
    for image in changed:
        print(f"{image.name}: {image.reference}")
    print(f"{len(changed)} digests changed; check the difference, then commit it")


def _sbom() -> None:
    print(sbom.write())


COMMANDS = {"build": _build, "pin": _pin, "sbom": _sbom}


def main() -> None:
    """Run the command."""
    name = sys.argv[1] if len(sys.argv) == 2 else ""  # noqa: PLR2004 - one argument
    if name not in COMMANDS:
        raise DeployError(f"usage: python -m deploy.image {'|'.join(COMMANDS)}")
    COMMANDS[name]()


if __name__ == "__main__":
    sys.exit(programs.exit_code(main))
