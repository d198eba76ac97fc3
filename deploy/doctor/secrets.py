"""Pure: secrets that are present, strong, different from one another, and in no environment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from deploy.doctor.findings import Finding, fail, ok, passed_unless, warn
from services.chassis.settings import EngineUrl, KeySeed, Secret

CHECK = "secrets"
_URL, _KEY, _SECRET = (TypeAdapter[object](kind) for kind in (EngineUrl, KeySeed, Secret))
_OFF = frozenset({"", "0", "false", "off", "no"})
GRAFANA_DEFAULTS = frozenset({"prom-operator", "admin", "grafana"})


def check_store(values: Mapping[str, str], *, path: str) -> list[Finding]:
    """The passwords and keys of a deployment are as strong as its roles require at start."""
    if not values:
        return [fail(CHECK, f"{path} has no secrets", "restore it from a backup; without it the data cannot be read")]
    weak = [(name, why) for name, value in sorted(values.items()) if (why := _why_weak(name, value))]
    found = [fail(CHECK, f"{name} in {path} {why}", "replace it; docs/deploy says how") for name, why in weak]
    by_value: dict[str, list[str]] = defaultdict(list)
    for name, value in values.items():
        by_value[value].append(name)
    found += [
        warn(CHECK, f"{' and '.join(sorted(names))} in {path} are the same", "give each its own")
        for names in by_value.values()
        if len(names) > 1
    ]
    return passed_unless(found, CHECK, f"{len(values)} secrets in {path}, none is weak")


def _why_weak(name: str, value: str) -> str | None:
    """The rule of the settings classes: what a role would refuse at its start."""
    try:
        if name.startswith("service_key:"):
            _KEY.validate_python(value)
        elif name == "auth_secret":
            _SECRET.validate_python(value)
        elif "://" in value:
            return None
        else:
            _URL.validate_python(f"engine://user:{quote(value, safe='')}@host")
    except ValidationError as error:
        return error.errors()[0]["msg"].removeprefix("Value error, ")
    return None


def check_modes(modes: Mapping[str, int]) -> list[Finding]:
    """Only the owner can enter the folders and read the store: path -> permission bits."""
    found = [
        fail(CHECK, f"other users can read {path} (mode {mode:04o})", f"chmod go= {path}")
        for path, mode in sorted(modes.items())
        if mode & 0o077
    ]
    return passed_unless(found, CHECK, "only the owner can read them")


def check_environments(environments: Mapping[str, Iterable[str]], secret_names: Iterable[str]) -> list[Finding]:
    """No container has a secret in its environment, where `inspect` and every child process show it."""
    secret = frozenset(secret_names)
    found = [
        fail(CHECK, f"{container} has {name} in its environment", "give it as a file in PAYFLOW_SECRETS_DIR")
        for container, names in environments.items()
        for name in sorted(secret.intersection(names))
    ]
    return passed_unless(found, CHECK, "no secret is in an environment")


def check_demo(environments: Mapping[str, Mapping[str, str]]) -> list[Finding]:
    """No container runs in demo mode or without rate limits, which are for a private machine."""
    demo = [container for container, values in environments.items() if values.get("PAYFLOW_DEMO", "0") not in _OFF]
    found = []
    if demo:
        sentence = f"{len(demo)} containers run in demo mode: the demo users, one an operator, have a public password"
        found.append(warn("demo", sentence, "use it on a private machine only"))
    found += [
        warn("demo", f"{container} runs without rate limits", "set PAYFLOW_RATE_LIMITS=on")
        for container, values in environments.items()
        if values.get("PAYFLOW_RATE_LIMITS") == "off"
    ]
    return passed_unless(found, "demo", "no demo mode, and rate limits are on")


def check_orphaned_volumes(volumes: Sequence[str], *, has_store: bool, path: str) -> list[Finding]:
    """Data without its secrets cannot be read: new ones must not be generated beside it."""
    if volumes and not has_store:
        sentence = f"there is data ({', '.join(volumes)}), and {path} is missing"
        return [fail(CHECK, sentence, "restore it from a backup, or remove the volumes with all their data")]
    if not has_store:
        return [ok(CHECK, f"{path} does not exist yet: the deployment generates it")]
    return [ok(CHECK, f"{path} exists")]


def check_grafana(password: str | None, *, where: str) -> list[Finding]:
    """Grafana, if there is one, does not have the password that its chart or image comes with."""
    if password is None:
        return [ok("monitoring", f"there is no Grafana in {where}")]
    if password in GRAFANA_DEFAULTS:
        sentence = f"Grafana in {where} has the default password of its user admin"
        return [fail("monitoring", sentence, "change it: grafana cli admin reset-admin-password")]
    return [ok("monitoring", "Grafana has its own password")]
