"""Write the files of each container below the ignored folder of a deployment, and a Secret for each of them for Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deploy.local import files
from deploy.secrets.consumers import Consumers, Hosts
from deploy.secrets.store import Secrets

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / ".deploy"
STORE = "secrets.json"
FILE_MODE = 0o444
FOLDER_MODE = 0o755
"""The user of a container has to read them; on this machine the folder above is closed to all but its owner."""


def target_folder(target: str) -> Path:
    """The folder of a deployment: `compose`, `microk8s`, `rehearsal`, `production`."""
    return FOLDER / target


def write(folder: Path, hosts: Hosts | None = None) -> dict[str, tuple[str, ...]]:
    """Write `secrets/<consumer>/<file>` below `folder`, from its secrets.json; returns the names of the files by consumer.

    Missing secrets are generated and stored first; existing ones are never replaced. Files that no consumer uses any more are
    removed.

    Raises:
        DeployError: secrets.json is not valid JSON, or a value in it cannot be used.
    """
    files.make_folder(folder)
    wanted = Consumers(Secrets(folder / STORE), hosts or Hosts()).files()
    write_texts(folder / "secrets", wanted)
    return {consumer: tuple(sorted(texts)) for consumer, texts in wanted.items()}


def write_texts(root: Path, wanted: Mapping[str, Mapping[str, str]]) -> None:
    """Write `<consumer>/<file>` below `root`, and remove the files that no consumer uses any more."""
    files.make_folder(root)
    for consumer, texts in wanted.items():
        _write_consumer(root / consumer, texts)
    _remove_others(root, wanted)


def write_kustomization(folder: Path, written: Mapping[str, tuple[str, ...]], *, namespace: str) -> Path:
    """Write `secrets/kustomization.yaml`: one Secret per consumer, `<consumer>-secrets`; kubectl adds a hash of its content."""
    lines = [
        *("apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization", f"namespace: {namespace}"),
        "secretGenerator:",
    ]
    for consumer, names in written.items():
        lines += [f"  - name: {consumer}-secrets", "    files:"]
        lines += [f"      - {consumer}/{name}" for name in names]
    path = folder / "secrets" / "kustomization.yaml"
    files.write_atomically(path, "\n".join(lines) + "\n")
    return path


def _write_consumer(folder: Path, texts: Mapping[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    folder.chmod(FOLDER_MODE)
    for name, text in texts.items():
        path = folder / name
        # An unchanged file stays: a running container keeps seeing the file that it was started with.
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            files.write_atomically(path, text, mode=FILE_MODE, durable=False)
        path.chmod(FILE_MODE)


def _remove_others(root: Path, wanted: Mapping[str, Mapping[str, str]]) -> None:
    for path in root.glob("*/*"):
        if path.name not in wanted.get(path.parent.name, {}):
            path.unlink()
