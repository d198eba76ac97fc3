"""The schemas of the built-in kinds of Kubernetes, without unknown fields, from the package kubernetes_validate."""

from __future__ import annotations

import importlib.resources
import json
import re
from functools import cache
from typing import Any

import jsonschema_rs

VERSIONS = ("1.32.0", "1.34.0", "1.37.0")
"""The oldest that MicroK8s still supports, the one that made `preStop.sleep` final, and the newest in the package."""

Resource = dict[str, Any]


def find_faults(resource: Resource, version: str) -> list[str]:
    """What the schema of a version refuses.

    Raises:
        FileNotFoundError: the version does not have this kind.
    """
    validator = _validator(version, resource["kind"], resource["apiVersion"])
    return [f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in validator.iter_errors(resource)]


@cache
def _validator(version: str, kind: str, api_version: str) -> jsonschema_rs.Draft202012Validator:
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    return jsonschema_rs.Draft202012Validator(_read(version, f"{kind.lower()}-{group}"), registry=_definitions(version))


@cache
def _definitions(version: str) -> jsonschema_rs.Registry:
    definitions = _read(version, "_definitions")
    return jsonschema_rs.Registry([(definitions["$id"], definitions)])


def _read(version: str, name: str) -> Resource:
    package = importlib.resources.files("kubernetes_validate")
    path = package / "kubernetes-json-schema" / f"v{version}-local-strict" / f"{name}.json"
    schema: Resource = json.loads(path.read_text())
    return schema
