"""Secrets of the production overlay: those of the roles, and those that the operators of the engines read in their own form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from deploy.local.engines import postgres
from deploy.local.files import write_atomically
from deploy.programs import DeployError
from deploy.secrets import files
from deploy.secrets.consumers import BROKER_USER, Hosts
from deploy.secrets.store import Secrets

HOSTS = Hosts(postgres="postgres-rw:5432")
"""CloudNativePG's Service of the primary; the other engines have the names that they have everywhere."""

NAMESPACE = "payflow"
ELSEWHERE = frozenset({"postgres", "rabbitmq", "backup", "demo-seed", "grafana", "postgres-exporter", "redis-exporter"})
"""What this overlay does not run: operators, the observability stack or an operator's machine do."""

OBJECT_STORE = {
    "access_key_id": "object_store_access_key_id",
    "secret_access_key": "object_store_secret_access_key",
}
"""Names in secrets.json of what only the operator can know, by the name in the Secret."""


def write(folder: Path) -> tuple[str, ...]:
    """Write all files and the kustomization that makes Secrets of them; returns the names of the Secrets.

    Raises:
        DeployError: secrets.json lacks the keys of the object store, is not valid JSON, or has a value that cannot be used.
    """
    secrets = Secrets(folder / files.STORE)
    object_store = _object_store(secrets)
    written = {name: texts for name, texts in files.write(folder, HOSTS).items() if name not in ELSEWHERE}
    files.write_kustomization(folder, written, namespace=NAMESPACE)
    operators = _operators(secrets) | {"object-store": object_store}
    files.write_texts(folder / "operators", operators)
    _write_kustomization(folder, operators)
    return (*(f"{name}-secrets" for name in written), *operators)


def _object_store(secrets: Secrets) -> dict[str, str]:
    found = {key: secrets.find(name) for key, name in OBJECT_STORE.items()}
    missing = [OBJECT_STORE[key] for key, value in found.items() if not value]
    if missing:
        raise DeployError(f"add {' and '.join(missing)} of the object store for backups to {secrets.path}")
    return {key: value for key, value in found.items() if value}


def _operators(secrets: Secrets) -> dict[str, dict[str, str]]:
    """The superuser as CloudNativePG reads it, and the user as the RabbitMQ operator reads it."""
    broker = secrets.password("rabbitmq")
    return {
        "postgres-superuser": {
            "username": postgres.SUPERUSER,
            "password": secrets.password(f"postgres:{postgres.SUPERUSER}"),
        },
        "rabbitmq-default-user": {
            "default_user.conf": f"default_user = {BROKER_USER}\ndefault_pass = {broker}\n",
            "username": BROKER_USER,
            "password": broker,
            "host": f"rabbitmq.{NAMESPACE}.svc",
            "port": "5672",
            "provider": "rabbitmq",
            "type": "rabbitmq",
        },
    }


def _write_kustomization(folder: Path, operators: Mapping[str, Mapping[str, str]]) -> None:
    """The Secrets of operators have fixed names: kustomize does not know where their resources name one."""
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        "resources": ["secrets"],
        "secretGenerator": [
            {
                "name": name,
                "files": [f"operators/{name}/{file}" for file in sorted(texts)],
                "options": {"disableNameSuffixHash": True},
            }
            | ({"type": "kubernetes.io/basic-auth"} if name == "postgres-superuser" else {})
            for name, texts in operators.items()
        ],
    }
    write_atomically(folder / "kustomization.yaml", yaml.safe_dump(kustomization, sort_keys=False))
