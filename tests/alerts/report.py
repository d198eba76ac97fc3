"""The result of `make alerts-prove`: a table, and JSON that later runs of some alerts add to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.local import files
from deploy.monitoring import shortened
from tests.alerts import table
from tests.alerts.proof import Result
from tests.alerts.silence import Silence
from tests.harness import monitoring

PROVEN, NOT_PROVEN, NOT_HERE = "proven", "NOT PROVEN", "not here"
NO_FAULT = "no fault causes it"


def document(results: Sequence[Result], silences: Sequence[Silence], *, earlier: dict[str, Any]) -> dict[str, Any]:
    """All that is known: the results of this run, and those of earlier runs for what this one left out."""
    alerts = {each["key"]: each for each in earlier.get("alerts", ()) if each["alert"] in names()}
    alerts |= {made["key"]: made for made in map(_entry, results)}
    silent = {each["what"]: each for each in earlier.get("silences", ())} | {
        each.what: asdict(each) for each in silences
    }
    return {"alerts": list(alerts.values()), "silences": list(silent.values())}


def missing(made: dict[str, Any]) -> dict[str, str]:
    """The alerts without a proof, and why."""
    seen = {each["alert"] for each in made["alerts"]}
    run = table.proven()
    return {
        name: table.NOT_HERE.get(name) or table.NOT_YET.get(name) or ("not run yet" if name in run else NO_FAULT)
        for name in sorted(names() - seen)
    }


def succeeded(made: dict[str, Any]) -> bool:
    """Whether every alert is proven that can be caused here, and nothing was notified that should not be."""
    return (
        all(each["state"] == PROVEN for each in made["alerts"])
        and set(missing(made)) <= set(table.NOT_HERE)
        and not any(each["notified"] for each in made["silences"])
    )


def show(console: Console, made: dict[str, Any]) -> None:
    """Print the table."""
    drawn = Table("alert", "fault", "to fire", "to clear", "rule", "", box=None, pad_edge=False)
    for each in sorted(made["alerts"], key=lambda each: str(each["key"])):
        drawn.add_row(
            str(each["key"]),
            each["fault"],
            _seconds(each["fired_seconds"]),
            _seconds(each["cleared_seconds"]),
            "shortened" if each["shortened"] else "real",
            each["state"] + (": fired before the fault" if each["fired_before"] else "") + each["error"],
        )
    for name, reason in missing(made).items():
        drawn.add_row(name, reason, "", "", "", NOT_HERE if name in table.NOT_HERE else NOT_PROVEN)
    console.print(drawn)
    for silence in made["silences"]:
        console.print(
            f"{silence['what']}: {', '.join(silence['notified']) or 'no alert'} in {silence['seconds']:.0f} s"
        )


def write(path: Path, made: dict[str, Any]) -> None:
    """Write the JSON, with the alerts that have no proof."""
    files.write_json(path, made | {"not_proven": missing(made), "succeeded": succeeded(made)})


def names() -> set[str]:
    """All alerts of the rule files."""
    return {alert["alert"] for alert in monitoring.alerts()}


def _entry(result: Result) -> dict[str, Any]:
    labels = " ".join(f"{name}={value}" for name, value in result.labels.items())
    return {
        "key": f"{result.alert} {labels}".strip(),
        **asdict(result),
        "shortened": result.alert in _shortened(),
        "state": PROVEN if result.proven else NOT_PROVEN,
    }


def _shortened() -> set[str]:
    """The alerts whose rule is not the real one in a proof."""
    made = [group for each in shortened.documents().values() for group in each["groups"]]
    shorter = {rule["alert"]: rule for group in made for rule in group["rules"] if "alert" in rule}
    return {rule["alert"] for rule in monitoring.alerts() if shorter[rule["alert"]] != rule}


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} s"
