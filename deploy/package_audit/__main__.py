"""`make audit`: check the locked packages against the database of known vulnerabilities.

0: every package was looked up, and each finding is explained. 1: a finding is not explained. 2: some packages could not be
looked up, so nothing is known about them; their newer releases are printed instead.

pip-audit queries the database. For packages that it cannot look up, the package registry is queried. It lists only the
vulnerabilities of the newest release of a package, which is enough for every package that is locked at its newest release.

A finding is explained in pyproject.toml under `[tool.payflow.audit.explained]`: its id, and why it does no harm here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.package_audit import advisories

REPOSITORY = Path(__file__).resolve().parents[2]
UV = REPOSITORY / ".venv" / "bin" / "uv"
TOOL = "pip-audit>=2.9"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of an audit. `findings` are not explained; `stale` explanations match no finding any more."""

    looked_up: int
    unknown: tuple[str, ...]
    findings: tuple[str, ...]
    explained: tuple[str, ...]
    stale: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 clean, 1 something to do, 2 not everything could be looked up."""
        if self.findings or (self.stale and not self.unknown):
            return 1
        return 2 if self.unknown else 0


def evaluate(report: Mapping[str, Any], explained: Mapping[str, str]) -> Verdict:
    """The verdict on a report of pip-audit. A skipped package counts as unknown, though pip-audit itself calls it clean."""
    packages = report["dependencies"]
    found = {
        name: f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in {_versions(vulnerability)}"
        for package in packages
        for vulnerability in package.get("vulns", ())
        for name in [_known_as(vulnerability, explained)]
    }
    unknown = tuple(package["name"] for package in packages if "skip_reason" in package)
    return Verdict(
        looked_up=len(packages) - len(unknown),
        unknown=unknown,
        findings=tuple(text for name, text in found.items() if name not in explained),
        explained=tuple(f"{text} ({explained[name]})" for name, text in found.items() if name in explained),
        stale=tuple(name for name in explained if name not in found),
    )


def main() -> int:
    """Audit, print the verdict, and return the exit code."""
    with tempfile.TemporaryDirectory() as directory:
        locked = Path(directory) / "locked.txt"
        export = ["export", "--frozen", "--quiet", "--no-hashes", "--no-emit-workspace", "--all-groups"]
        _uv(*export, "--output-file", str(locked))
        audit = [
            "tool",
            "run",
            "--quiet",
            "--from",
            TOOL,
            "pip-audit",
            "--disable-pip",
            "--no-deps",
            "--format",
            "json",
        ]
        result = _uv(*audit, "--requirement", str(locked), may_fail=True)
    if not result.stdout:
        print(f"pip-audit did not run:\n{result.stderr}", file=sys.stderr)
        return 2
    report = json.loads(result.stdout)
    skipped = [package["name"] for package in report["dependencies"] if "skip_reason" in package]
    verdict = evaluate(advisories.complete(report, _locked(), advisories.fetch(skipped)), _explained())
    _show(verdict, by_registry=len(skipped) - len(verdict.unknown))
    if verdict.unknown:
        _show_newer()
    return verdict.exit_code


def _explained() -> dict[str, str]:
    tools = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]
    explained: dict[str, str] = tools.get("payflow", {}).get("audit", {}).get("explained", {})
    return explained


def _locked() -> dict[str, str]:
    packages = tomllib.loads((REPOSITORY / "uv.lock").read_text())["package"]
    return {package["name"]: package["version"] for package in packages if "version" in package}


def _show(verdict: Verdict, *, by_registry: int) -> None:
    for text in verdict.findings:
        print(f"FOUND      {text}")
    for text in verdict.explained:
        print(f"explained  {text}")
    for name in verdict.stale:
        print(f"STALE      {name} is explained but no longer found: remove it from pyproject.toml")
    by_database = verdict.looked_up - by_registry
    print(
        f"{verdict.looked_up} locked packages looked up ({by_database} in the database, {by_registry} in the registry,"
        f" newest releases only), {len(verdict.findings)} findings to act on"
    )
    if verdict.unknown:
        print(
            f"NOT AUDITED: {', '.join(verdict.unknown)}. Neither database nor registry has data on the locked release."
        )


def _show_newer() -> None:
    # A known vulnerability is usually fixed in a newer release, and the registry lists those.
    result = _uv("lock", "--upgrade", "--dry-run", may_fail=True)
    newer = [line for line in result.stderr.splitlines() if line.startswith(("Update ", "warning: "))]
    print("Newer and withdrawn releases in the registry:")
    print("\n".join(f"  {line}" for line in newer) or "  none")


def _versions(vulnerability: Mapping[str, Any]) -> str:
    return ", ".join(vulnerability.get("fix_versions", ())) or "no release"


def _known_as(vulnerability: Mapping[str, Any], explained: Mapping[str, str]) -> str:
    names: tuple[str, ...] = (vulnerability["id"], *vulnerability.get("aliases", ()))
    return next((name for name in names if name in explained), names[0])


def _uv(*arguments: str, may_fail: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(UV), *arguments], cwd=REPOSITORY, check=not may_fail, capture_output=True, text=True)


if __name__ == "__main__":
    sys.exit(main())
