"""`python -m deploy.secrets TARGET`: write the files of a deployment's secrets without starting anything."""

from __future__ import annotations

import sys

from deploy import programs
from deploy.secrets import files, production

TARGETS = ("compose", "microk8s", "rehearsal", "production")
USAGE = f"usage: python -m deploy.secrets {'|'.join(TARGETS)}"
NAMESPACE = "payflow"
EXIT_USAGE = 2


def main(arguments: list[str]) -> int:
    """Write the files of the target that the argument names; returns the exit code."""
    if len(arguments) != 1 or arguments[0] not in TARGETS:
        print(USAGE, file=sys.stderr)
        return EXIT_USAGE
    return programs.exit_code(lambda: _write(arguments[0]))


def _write(target: str) -> None:
    folder = files.target_folder(target)
    if target == "production":
        names = production.write(folder)
        print(f"{len(names)} Secrets are in {folder}; keep {folder / files.STORE} safe")
        return
    written = files.write(folder)
    if target == "microk8s":
        files.write_kustomization(folder, written, namespace=NAMESPACE)
    print(f"secrets of {len(written)} containers are in {folder / 'secrets'}; keep {folder / files.STORE} safe")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
