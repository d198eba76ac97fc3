"""The production overlay and the components that it does not include, built by the real kustomize in a copy of deploy/k8s."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from deploy.programs import find
from deploy.secrets import production as production_secrets

ROOT = Path(__file__).parents[3]
PRODUCTION = Path("deploy/k8s/overlays/production")
K8S = ROOT / "deploy/k8s"
EXAMPLE = ROOT / PRODUCTION / "site.env.example"

DIGEST = "sha256:" + 64 * "0"
SITE = {
    "HOST": "pay.example.com",
    "INGRESS_CLASS": "public",
    "INGRESS_NAMESPACE": "ingress",
    "TRUSTED_PROXIES": "10.1.0.0/16",
    "ACME_EMAIL": "operator@example.com",
    "IMAGE": f"registry.example.com/payflow@{DIGEST}",
    "POSTGRES_IMAGE": f"registry.example.com/postgresql:18@{DIGEST}",
    "RABBITMQ_IMAGE": f"registry.example.com/rabbitmq@{DIGEST}",
    "REDIS_IMAGE": f"registry.example.com/redis@{DIGEST}",
    "RELEASE": "1-2-3",
    "STORAGE_CLASS": "retained",
    "BACKUP_PATH": "s3://backups/payflow",
    "BACKUP_ENDPOINT": "https://objects.example.com",
    "ALERTMANAGER": "http://alertmanager.observability.svc:9093",
    "PROMETHEUS": "http://prometheus.observability.svc:9090",
}
"""A site for the tests."""

OBJECT_STORE = {"object_store_access_key_id": "access", "object_store_secret_access_key": "secret"}
"""What only the operator knows, for the tests."""

Resource = dict[str, Any]


class BuildFailed(Exception):  # noqa: N818 - reads as what it is
    """kustomize refused; the text is its error."""


@cache
def production() -> tuple[Resource, ...]:
    """The resources of the production overlay, for the site of the tests."""
    return build_production(SITE)


@cache
def base_with(*components: str) -> tuple[Resource, ...]:
    """The resources of the base, an Ingress and components."""
    with TemporaryDirectory() as folder:
        root = _copy(Path(folder))
        overlay = root / "deploy/k8s/overlays/tried"
        overlay.mkdir(parents=True)
        shutil.copy(root / PRODUCTION / "ingress.yaml", overlay)
        kustomization = {
            "namespace": "payflow",
            "resources": ["../../base", "../../../../.deploy/production", "ingress.yaml"],
            "components": [f"../../components/{component}" for component in components],
        }
        (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return _build(overlay)


def build_production(site: Mapping[str, str] | None) -> tuple[Resource, ...]:
    """Build the production overlay beside a site.env with these values, or without one.

    Raises:
        BuildFailed: it does not build.
    """
    with TemporaryDirectory() as folder:
        root = _copy(Path(folder))
        if site is not None:
            (root / PRODUCTION / "site.env").write_text("".join(f"{name}={value}\n" for name, value in site.items()))
        return _build(root / PRODUCTION)


def example_site() -> dict[str, str]:
    """The values of site.env.example."""
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))


def _copy(folder: Path) -> Path:
    """The parts of the repository that an overlay refers to, with secrets."""
    shutil.copytree(K8S, folder / "deploy/k8s", ignore=shutil.ignore_patterns("site.env", "microk8s", "__pycache__"))
    shutil.copytree(ROOT / "deploy/postgres", folder / "deploy/postgres")
    shutil.copytree(ROOT / "monitoring/grafana/dashboards", folder / "monitoring/grafana/dashboards")
    secrets = folder / ".deploy/production"
    secrets.mkdir(parents=True)
    (secrets / "secrets.json").write_text(json.dumps(OBJECT_STORE))
    production_secrets.write(secrets)
    return folder


def _build(overlay: Path) -> tuple[Resource, ...]:
    kubectl = find("kubectl", hint="run `make engines`")
    done = subprocess.run([kubectl, "kustomize", str(overlay)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildFailed(done.stderr)
    return tuple(yaml.load_all(done.stdout, yaml.CSafeLoader))
