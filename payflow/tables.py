"""The output of the command line without --json: tables on a terminal, plain text in a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from payflow import canary, console
from payflow.account import SigningKeys
from payflow.api_key import ApiKey
from payflow.audit import AuditLog
from payflow.dead_letter import DeadLetterDetail, DeadLetterList, ReplayResult
from payflow.money import Currency
from payflow.operations import Alert, BalanceSheet, Overview, Proof
from payflow.prose import phrase, printable
from payflow.transfer import ACCEPTED, Timeline

PAGE = "docs/operations/transfer-takes-too-long.md"

_CHECKS = {
    "relay": "process transaction-relay; payflow_outbox_lag_seconds",
    "broker": "RabbitMQ: running, with a leader for the queue, without a disk or memory alarm",
    "worker": "processes transaction-worker-…; `payflow queue`: depth and age",
    "wallet": "process wallet and its database; log event consumer_paused",
    "reversal": "process transaction-reversal; `payflow queue`: job reversal",
}

_WAITS = {
    "relay": "the relay, which publishes it to the broker",
    "broker": "the broker, which delivers it to a worker",
    "worker": "a worker, which sends it to the wallet service",
    "wallet": "the wallet service, which moves the money",
    "reversal": "the reversal, which fails it if no money has moved",
}


def print_timeline(timeline: Timeline, *, checks: bool) -> None:
    """Print each step with its times, what the transfer waits for and since when, and the sentence for the customer.

    With `checks` also what an operator should look at.
    """
    console.show(*timeline_tables(timeline, checks=checks))


def timeline_tables(timeline: Timeline, *, checks: bool) -> tuple[Table, Table]:
    """The steps, and everything else about the transfer, as `print_timeline` prints them."""
    table = console.table("time (UTC)", ">ms", ">gap", "service", "step", "detail")
    before: datetime | None = None
    for step in timeline.steps:
        gap, before = step.at - (before or step.at), step.at
        table.add_row(
            console.clock(step.at),
            f"{(step.at - _accepted_at(timeline)).total_seconds() * 1000:.1f}",
            f"+{gap.total_seconds() * 1000:.1f}",
            console.plain(step.service),
            console.plain(step.step),
            console.plain(phrase(step.detail)),
        )
    facts = [("transfer", console.plain(timeline.transfer_id)), ("status", console.coloured(timeline.status))]
    if timeline.waiting_for is not None:
        facts += _wait(timeline, timeline.waiting_for)
        if checks and (check := _CHECKS.get(timeline.waiting_for)):
            facts.append(("check", console.plain(f"{check}; {PAGE}")))
    if timeline.unavailable:
        facts.append(("unavailable", console.plain(f"{', '.join(timeline.unavailable)} (steps may be missing)")))
    facts.append(("customer", console.plain(timeline.summary)))
    return table, console.facts(facts)


def print_overview(overview: Overview) -> None:
    """Print the queues, then everything else that is pending."""
    console.show(*overview_tables(overview))


def overview_tables(overview: Overview) -> tuple[Table, Table]:
    """The queues, and everything else that is pending."""
    table = console.table("queue", ">transfers", ">messages", "zone", ">oldest", ">drain/s", ">work")
    for queue in overview.queues:
        table.add_row(
            console.plain(queue.name),
            console.count(queue.transfers),
            console.count(queue.messages),
            console.coloured(queue.zone or console.UNKNOWN),
            console.duration(queue.oldest_seconds),
            console.figure(queue.drain_per_s),
            console.duration(queue.seconds_of_work),
        )
    return table, console.facts(_waiting(overview))


def print_proof(proof: Proof) -> None:
    """Print each check, and whether the ledger passed."""
    table = console.table("check", "result", "detail")
    for check in proof.checks:
        result = Text("ok", "green") if check.ok else Text("FAILED", "bold red")
        table.add_row(console.plain(check.name), result, console.plain(phrase(check.detail)))
    verdict = Text("passed", "green") if proof.ok else Text("FAILED", "bold red")
    console.show(
        table,
        console.facts(
            [
                ("proof", verdict),
                ("as of", console.moment(proof.at)),
                ("head", console.plain(proof.head or console.UNKNOWN)),
            ]
        ),
    )


def print_balance_sheet(sheet: BalanceSheet, currencies: Mapping[str, Currency]) -> None:
    """Print a row for each currency; the sum must be zero."""
    table = console.table("currency", ">customers", ">external", ">sum")
    for row in sheet.currencies:
        currency = currencies.get(row.currency, Currency(row.currency, 0, row.currency))
        table.add_row(
            console.plain(f"{row.currency} (test)" if row.currency == canary.CURRENCY else row.currency),
            currency.format(row.customers),
            currency.format(row.external),
            Text(currency.format(row.sum), "bold red" if row.sum else "green"),
        )
    console.show(table, console.facts([("as of", console.moment(sheet.as_of))]))


def print_signing_keys(found: SigningKeys) -> None:
    """Print a row for each key, oldest first."""
    table = console.table("key", "state", "signs from", "retires")
    for key in found.keys:
        table.add_row(
            console.plain(key.kid),
            console.coloured(key.state),
            console.moment(key.signs_from),
            console.moment(key.retired_at or key.retires_at),
        )
    console.show(table)


def print_api_keys(found: Iterable[ApiKey]) -> None:
    """Print a row for each key, newest first."""
    table = console.table("id", "name", "key", "scopes", "created", "last used", "expires")
    for key in found:
        moments = (console.moment(moment) for moment in (key.created_at, key.last_used_at, key.expires_at))
        table.add_row(
            console.plain(key.id),
            console.plain(key.name),
            console.plain(f"{key.prefix}_…"),
            console.plain(" ".join(key.scopes)),
            *moments,
        )
    console.show(table)


def print_dead_letters(found: DeadLetterList) -> None:
    """Print a row for each dead letter, and the unavailable services."""
    table = console.table("last seen", "id", "queue", "state", ">seen", ">attempts", "reason", "transfers")
    for dead_letter in found.items:
        table.add_row(
            console.moment(dead_letter.last_seen_at),
            console.plain(dead_letter.id),
            console.plain(dead_letter.queue),
            console.coloured(dead_letter.state),
            console.count(dead_letter.seen),
            console.count(dead_letter.attempts),
            console.plain(dead_letter.reason),
            console.plain(_ids(dead_letter.transfer_ids)),
        )
    console.show(table, *_missing(found.unavailable))


def print_dead_letter(dead_letter: DeadLetterDetail) -> None:
    """Print all fields; the body as text, or as bytes in base64."""
    document = dead_letter.document
    facts = [
        (name.replace("_", " "), console.plain(_fact(value)))
        for name, value in document.items()
        if name != "body_base64"
    ]
    if dead_letter.body is None:
        facts.append(("bytes", console.plain(dead_letter.body_base64)))
    console.show(console.facts(facts))


def print_replay(replay: ReplayResult) -> None:
    """Print the effect on each transfer, and whether the dead letter was replayed."""
    table = console.table("transfer", "status", "ledger", "effect", "detail")
    for transfer in replay.transfers:
        outcome = transfer.outcome or ("undecided" if transfer.outcome_known is False else console.UNKNOWN)
        table.add_row(
            console.plain(transfer.transfer_id),
            console.coloured(transfer.status or console.UNKNOWN),
            console.plain(outcome),
            console.plain(transfer.effect),
            console.plain(transfer.detail),
        )
    replayed = "no: a dry run" if replay.dry_run else "yes"
    state = replay.dead_letter.state
    facts = [
        ("replayed", console.plain(replayed)),
        ("state", console.coloured(state)),
        ("detail", console.plain(replay.detail)),
    ]
    console.show(table, console.facts(facts))


def print_audit(log: AuditLog) -> None:
    """Print a row for each entry, the unavailable services, and whether older entries were left out."""
    table = console.table("time (UTC)", "service", "action", "actor", "subject", "detail", "request")
    for entry in log.items:
        table.add_row(
            console.moment(entry.at),
            console.plain(entry.service),
            console.plain(entry.action),
            console.plain(entry.actor_id or console.UNKNOWN),
            console.plain(f"{entry.subject.kind} {entry.subject.id}" if entry.subject else console.UNKNOWN),
            console.plain(", ".join(f"{name}={_fact(value)}" for name, value in entry.detail.items())),
            console.plain(entry.request_id),
        )
    more = [console.facts([("more", console.plain("there are older entries: raise --limit, or set --until"))])]
    console.show(table, *_missing(log.unavailable), *(more if log.has_more else []))


def _wait(timeline: Timeline, waiting_for: str) -> Iterable[tuple[str, Text]]:
    waits = _WAITS.get(waiting_for)
    yield "waits for", console.plain(f"{waiting_for}: {waits}" if waits else waiting_for)
    if timeline.as_of is not None and timeline.steps:
        last = timeline.steps[-1]
        seconds = max(0.0, (timeline.as_of - last.at).total_seconds())
        yield "since", console.plain(f"{console.duration(seconds)} after {last.step} ({last.service})")


def _missing(unavailable: Sequence[str]) -> list[Table]:
    if not unavailable:
        return []
    return [console.facts([("unavailable", console.plain(f"{', '.join(unavailable)} (the list is incomplete)"))])]


def _fact(value: Any) -> str:
    if isinstance(value, list):
        return _ids(value)
    return console.UNKNOWN if value is None else str(value)


def _ids(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values)) or console.UNKNOWN


def _accepted_at(timeline: Timeline) -> datetime:
    return next((step.at for step in timeline.steps if step.step == ACCEPTED), timeline.steps[0].at)


def _waiting(overview: Overview) -> Iterable[tuple[str, Text]]:
    yield (
        "outbox",
        Text(
            f"{console.count(overview.outbox_unpublished)} unpublished, lag {console.duration(overview.outbox_lag_seconds)}"
        ),
    )
    yield "pending", Text(f"{console.count(overview.pending)} transfers, {console.count(overview.stale_pending)} stale")
    yield "dead letters", Text(console.count(overview.dead_letters), "bold red" if overview.dead_letters else "")
    yield "proof", _proof_line(overview)
    for job in overview.jobs:
        yield f"job {job.name}", Text("last success ").append_text(console.moment(job.last_success))
    if not overview.alerts:
        yield "alerts", Text("unknown to the gateway" if overview.alerts is None else "none firing")
    for alert in overview.alerts or ():
        yield "alert", _alert_line(alert)
    for service in overview.services:
        yield f"service {service.name}", Text("ready", "green") if service.ready else Text("not ready", "bold red")


def _alert_line(alert: Alert) -> Text:
    parts = (alert.name, alert.severity, f"since {console.moment(alert.since)}", alert.runbook)
    return Text(printable("  ".join(part for part in parts if part)), "bold red")


def _proof_line(overview: Overview) -> Text:
    if overview.proof_ok is None:
        return Text("none yet", "yellow")
    verdict = ("ok", "green") if overview.proof_ok else ("FAILED", "bold red")
    return Text.assemble(verdict, " at ", console.moment(overview.proof_at))
