"""What a check found, and how it is reported."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: a sentence, and what to do."""

    level: Level
    check: str
    sentence: str
    advice: str = ""

    def __str__(self) -> str:
        text = f"{self.level:4} {self.check}: {self.sentence}"
        return f"{text} - {self.advice}" if self.advice else text


def ok(check: str, sentence: str) -> Finding:
    """A check that passed."""
    return Finding("ok", check, sentence)


def warn(check: str, sentence: str, advice: str) -> Finding:
    """Something that works and should be changed; it does not fail the run."""
    return Finding("warn", check, sentence, advice)


def fail(check: str, sentence: str, advice: str) -> Finding:
    """Something that is broken or unsafe."""
    return Finding("fail", check, sentence, advice)


def passed_unless(found: Iterable[Finding], check: str, sentence: str) -> list[Finding]:
    """The findings, or that the check passed if there are none."""
    return list(found) or [ok(check, sentence)]


def for_context(finding: Finding, context: str) -> Finding:
    """The finding with commands for a named context in place of those for MicroK8s."""
    advice = finding.advice.replace("microk8s kubectl", f"kubectl --context={context}")
    return replace(finding, advice=advice.replace("make microk8s-deploy", f"make microk8s-deploy CONTEXT={context}"))


def report(target: str, found: Sequence[Finding], *, as_json: bool) -> str:
    """The findings as text, or as JSON with the same content."""
    counts = {level: sum(finding.level == level for finding in found) for level in ("ok", "warn", "fail")}
    if as_json:
        summary = {"target": target, **counts}
        return json.dumps({"summary": summary, "findings": [asdict(finding) for finding in found]}, indent=2)
    lines = [*map(str, found), f"{target}: {counts['ok']} ok, {counts['warn']} warn, {counts['fail']} fail"]
    return "\n".join(lines)


def exit_code(found: Iterable[Finding]) -> int:
    """1 if a check failed; warnings do not count."""
    return int(any(finding.level == "fail" for finding in found))
