"""The result of `make alerts-prove`: a table, and JSON that later runs of some alerts add to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.local import files
from deploy.monitoring import shortened
from tests.alerts import proof, table
from tests.alerts.proof import Result
from tests.alerts.silence import Silence
from tests.harness import monitoring

PROVEN, NOT_PROVEN, NOT_HERE = "proven", "NOT PROVEN", "not here"
NO_FAULT = "no fault causes it"
COLUMNS = ("alert", "fault", "held", "to fire", "to clear", "rule")


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
        name: table.NOT_HERE.get(name) or ("not run yet" if name in run else NO_FAULT)
        for name in sorted(names() - seen)
    }


def unproven(made: dict[str, Any]) -> list[str]:
    """The alerts that a further run can prove."""
    failed = {each["alert"] for each in made["alerts"] if each["state"] != PROVEN}
    return sorted(failed | (missing(made).keys() - table.NOT_HERE.keys()))


def succeeded(made: dict[str, Any]) -> bool:
    """Whether every alert is proven that can be caused here, and nothing was notified that should not be."""
    return not unproven(made) and not any(each["notified"] for each in made["silences"])


def show(console: Console, made: dict[str, Any]) -> None:
    """Print the table."""
    drawn = Table(*COLUMNS, "", box=None, pad_edge=False)
    for each in sorted(made["alerts"], key=lambda each: str(each["key"])):
        drawn.add_row(
            str(each["key"]),
            *_row(each),
            ": ".join([each["state"], *_reasons(each)]),
        )
    for name, reason in missing(made).items():
        drawn.add_row(name, reason, "", "", "", "", NOT_HERE if name in table.NOT_HERE else NOT_PROVEN)
    console.print(drawn)
    for silence in made["silences"]:
        console.print(
            f"{silence['what']}: {', '.join(silence['notified']) or 'no alert'} in {silence['seconds']:.0f} s"
            + (f", slowest restart {silence['slowest']:.1f} s" if silence["slowest"] else "")
        )
    if rest := unproven(made):
        console.print(f'what is not proven: make alerts-prove ONLY="{" ".join(rest)}"')


def write(path: Path, made: dict[str, Any]) -> None:
    """Write the JSON, with the alerts that have no proof, and beside it the table as Markdown."""
    files.write_json(path, made | {"not_proven": missing(made), "succeeded": succeeded(made)})
    files.write_atomically(path.with_suffix(".md"), "".join(f"| {' | '.join(row)} |\n" for row in _markdown(made)))


def _markdown(made: dict[str, Any]) -> Iterator[Sequence[str]]:
    """The rows of the table of alerts that are proven."""
    yield COLUMNS
    yield ["---"] * len(COLUMNS)
    for each in sorted(made["alerts"], key=lambda each: str(each["key"])):
        if each["state"] == PROVEN:
            labels = each["key"].removeprefix(each["alert"])
            yield [f"`{each['alert']}`{labels}", *_row(each)]


def names() -> set[str]:
    """All alerts of the rule files."""
    return {alert["alert"] for alert in monitoring.alerts()}


def _entry(result: Result) -> dict[str, Any]:
    labels = " ".join(f"{name}={value}" for name, value in result.labels.items())
    return {
        "key": f"{result.alert} {labels}".strip(),
        **asdict(result),
        "shortened": result.alert in shortened.changed(),
        "state": PROVEN if result.proven else NOT_PROVEN,
    }


def _row(entry: dict[str, Any]) -> list[str]:
    """The columns after the first."""
    seconds = [_seconds(entry[name]) for name in ("held_seconds", "fired_seconds", "cleared_seconds")]
    return [entry["fault"], *seconds, "shortened" if entry["shortened"] else "real"]


def _reasons(entry: dict[str, Any]) -> list[str]:
    """Why an alert is not proven."""
    if entry["state"] == PROVEN:
        return []
    fired, cleared = entry["fired_seconds"], entry["cleared_seconds"]
    found = {
        entry["error"]: bool(entry["error"]),
        "fired before the fault": entry["fired_before"],
        "ended while the fault was held": entry["ended_early"],
        "not notified": fired is None,
        "fired too late": fired is not None and fired > proof.FIRES_SECONDS_MAX,
        "its end was not notified": fired is not None and cleared is None,
        "cleared too late": cleared is not None and cleared > proof.CLEARS_SECONDS_MAX,
    }
    return [reason for reason, applies in found.items() if applies]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} s"
