"""`make audit`: the locked packages against the database of known weaknesses.

0: every package was looked up, and each finding is explained. 1: one is not. 2: some packages could not be looked up, so
nothing is known about them; which have newer releases is printed instead.

pip-audit asks the database. What it cannot look up is asked of the package registry, which tells the weaknesses of the newest
release of each package: enough for whatever is locked at its newest.

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

from deploy.local import advisories

REPOSITORY = Path(__file__).resolve().parents[2]
UV = REPOSITORY / ".venv" / "bin" / "uv"
TOOL = "pip-audit>=2.9"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an audit found. `findings` are the unexplained ones, `stale` explanations of what is not found any more."""

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


def judge(report: Mapping[str, Any], explained: Mapping[str, str]) -> Verdict:
    """The verdict on a report of pip-audit. What was skipped counts as unknown, though pip-audit itself calls it clean."""
    packages = report["dependencies"]
    found = {
        name: f"{package['name']} {package['version']}: {weakness['id']}, mended in {_versions(weakness)}"
        for package in packages
        for weakness in package.get("vulns", ())
        for name in [_known_as(weakness, explained)]
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
    """Audit, print, and tell the exit code."""
    with tempfile.TemporaryDirectory() as directory:
        locked = Path(directory) / "locked.txt"
        export = ["export", "--frozen", "--quiet", "--no-hashes", "--no-emit-project", "--all-groups"]
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
        said = _uv(*audit, "--requirement", str(locked), may_fail=True)
    if not said.stdout:
        print(f"pip-audit did not run:\n{said.stderr}", file=sys.stderr)
        return 2
    report = json.loads(said.stdout)
    skipped = [package["name"] for package in report["dependencies"] if "skip_reason" in package]
    verdict = judge(advisories.complete(report, _locked(), advisories.fetch(skipped)), _explained())
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
        print(f"STALE      {name} is explained and not found: take it out of pyproject.toml")
    database = verdict.looked_up - by_registry
    print(
        f"{verdict.looked_up} locked packages looked up ({database} in the database, {by_registry} at the registry,"
        f" which knows newest releases), {len(verdict.findings)} findings to act on"
    )
    if verdict.unknown:
        print(
            f"NOT AUDITED: {', '.join(verdict.unknown)}. Neither the database nor the registry told of the locked release."
        )


def _show_newer() -> None:
    # A weakness that became known is mostly mended by a newer release: that much the registry can tell.
    said = _uv("lock", "--upgrade", "--dry-run", may_fail=True)
    newer = [line for line in said.stderr.splitlines() if line.startswith(("Update ", "warning: "))]
    print("What the registry alone tells (newer releases, withdrawn ones):")
    print("\n".join(f"  {line}" for line in newer) or "  nothing")


def _versions(weakness: Mapping[str, Any]) -> str:
    return ", ".join(weakness.get("fix_versions", ())) or "no release"


def _known_as(weakness: Mapping[str, Any], explained: Mapping[str, str]) -> str:
    names: tuple[str, ...] = (weakness["id"], *weakness.get("aliases", ()))
    return next((name for name in names if name in explained), names[0])


def _uv(*arguments: str, may_fail: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(UV), *arguments], cwd=REPOSITORY, check=not may_fail, capture_output=True, text=True)


if __name__ == "__main__":
    sys.exit(main())
