"""The output of the command line without --json: tables on a terminal, plain text in a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from payflow.account import SigningKeys
from payflow.api_key import ApiKey
from payflow.audit import AuditLog
from payflow.dead_letter import DeadLetterDetail, DeadLetterList, ReplayResult
from payflow.money import Currency
from payflow.operations import BalanceSheet, Overview, Proof
from payflow.prose import phrase, printable
from payflow.transfer import ACCEPTED, FAILED, PENDING, Timeline

PIPE_WIDTH = 200
"""The width of a table in a file or a pipe: wide enough not to wrap text that a program may search for."""

UNKNOWN = "-"
SECONDS_SHOWN_MAX = 100
MINUTES_SHOWN_MAX = 100

_WAITS = {
    "relay": "the relay, which publishes it to the broker",
    "broker": "the broker, which delivers it to a worker",
    "worker": "a worker, which sends it to the wallet service",
    "wallet": "the wallet service, which moves the money",
    "reversal": "the reversal, which fails it if no money has moved",
}
_COLOURS = {
    "normal": "green",
    "busy": "yellow",
    "delayed": "red",
    PENDING: "yellow",
    FAILED: "red",
    "waiting": "yellow",
    "signing": "green",
}


def print_timeline(timeline: Timeline) -> None:
    """Print the steps with the milliseconds since it was accepted, what it waits for, and the sentence for the customer."""
    table = _table("time (UTC)", ">ms", "service", "step", "detail")
    for step in timeline.steps:
        table.add_row(
            _clock(step.at),
            f"{(step.at - _accepted_at(timeline)).total_seconds() * 1000:.1f}",
            _plain(step.service),
            _plain(step.step),
            _plain(phrase(step.detail)),
        )
    facts = [("transfer", _plain(timeline.transfer_id)), ("status", _coloured(timeline.status))]
    if timeline.waiting_for is not None:
        waits = _WAITS.get(timeline.waiting_for)
        facts.append(("waits for", _plain(f"{timeline.waiting_for}: {waits}" if waits else timeline.waiting_for)))
    if timeline.unavailable:
        facts.append(("unavailable", _plain(f"{', '.join(timeline.unavailable)} (steps may be missing)")))
    facts.append(("customer", _plain(timeline.summary)))
    _print(table, _facts(facts))


def print_overview(overview: Overview) -> None:
    """Print the queues, then everything else that is pending."""
    table = _table("queue", ">transfers", ">messages", "zone", ">oldest", ">drain/s", ">work")
    for queue in overview.queues:
        table.add_row(
            _plain(queue.name),
            _count(queue.transfers),
            _count(queue.messages),
            _coloured(queue.zone or UNKNOWN),
            _duration(queue.oldest_seconds),
            _figure(queue.drain_per_s),
            _duration(queue.seconds_of_work),
        )
    _print(table, _facts(_waiting(overview)))


def print_proof(proof: Proof) -> None:
    """Print each check, and whether the ledger passed."""
    table = _table("check", "result", "detail")
    for check in proof.checks:
        result = Text("ok", "green") if check.ok else Text("FAILED", "bold red")
        table.add_row(_plain(check.name), result, _plain(phrase(check.detail)))
    verdict = Text("passed", "green") if proof.ok else Text("FAILED", "bold red")
    _print(table, _facts([("proof", verdict), ("as of", _time(proof.at)), ("head", _plain(proof.head or UNKNOWN))]))


def print_balance_sheet(sheet: BalanceSheet, currencies: Mapping[str, Currency]) -> None:
    """Print a row for each currency; the sum must be zero."""
    table = _table("currency", ">customers", ">external", ">sum")
    for row in sheet.currencies:
        currency = currencies.get(row.currency, Currency(row.currency, 0, row.currency))
        table.add_row(
            _plain(row.currency),
            currency.format(row.customers),
            currency.format(row.external),
            Text(currency.format(row.sum), "bold red" if row.sum else "green"),
        )
    _print(table, _facts([("as of", _time(sheet.as_of))]))


def print_signing_keys(found: SigningKeys) -> None:
    """Print a row for each key, oldest first."""
    table = _table("key", "state", "signs from", "retires")
    for key in found.keys:
        table.add_row(
            _plain(key.kid), _coloured(key.state), _time(key.signs_from), _time(key.retired_at or key.retires_at)
        )
    _print(table)


def print_api_keys(found: Iterable[ApiKey]) -> None:
    """Print a row for each key, newest first."""
    table = _table("id", "name", "key", "scopes", "created", "last used", "expires")
    for key in found:
        moments = (_time(moment) for moment in (key.created_at, key.last_used_at, key.expires_at))
        table.add_row(
            _plain(key.id), _plain(key.name), _plain(f"{key.prefix}_…"), _plain(" ".join(key.scopes)), *moments
        )
    _print(table)


def print_dead_letters(found: DeadLetterList) -> None:
    """Print a row for each dead letter, and the unavailable services."""
    table = _table("last seen", "id", "queue", "state", ">seen", ">attempts", "reason", "transfers")
    for dead_letter in found.items:
        table.add_row(
            _time(dead_letter.last_seen_at),
            _plain(dead_letter.id),
            _plain(dead_letter.queue),
            _coloured(dead_letter.state),
            _count(dead_letter.seen),
            _count(dead_letter.attempts),
            _plain(dead_letter.reason),
            _plain(_ids(dead_letter.transfer_ids)),
        )
    _print(table, *_missing(found.unavailable))


def print_dead_letter(dead_letter: DeadLetterDetail) -> None:
    """Print all fields; the body as text, or as bytes in base64."""
    document = dead_letter.document
    facts = [
        (name.replace("_", " "), _plain(_fact(value))) for name, value in document.items() if name != "body_base64"
    ]
    if dead_letter.body is None:
        facts.append(("bytes", _plain(dead_letter.body_base64)))
    _print(_facts(facts))


def print_replay(replay: ReplayResult) -> None:
    """Print the effect on each transfer, and whether the dead letter was replayed."""
    table = _table("transfer", "status", "ledger", "effect", "detail")
    for transfer in replay.transfers:
        outcome = transfer.outcome or ("undecided" if transfer.outcome_known is False else UNKNOWN)
        table.add_row(
            _plain(transfer.transfer_id),
            _coloured(transfer.status or UNKNOWN),
            _plain(outcome),
            _plain(transfer.effect),
            _plain(transfer.detail),
        )
    replayed = "no: a dry run" if replay.dry_run else "yes"
    state = replay.dead_letter.state
    facts = [("replayed", _plain(replayed)), ("state", _coloured(state)), ("detail", _plain(replay.detail))]
    _print(table, _facts(facts))


def print_audit(log: AuditLog) -> None:
    """Print a row for each entry, the unavailable services, and whether older entries were left out."""
    table = _table("time (UTC)", "service", "action", "actor", "subject", "detail", "request")
    for entry in log.items:
        table.add_row(
            _time(entry.at),
            _plain(entry.service),
            _plain(entry.action),
            _plain(entry.actor_id or UNKNOWN),
            _plain(f"{entry.subject.kind} {entry.subject.id}" if entry.subject else UNKNOWN),
            _plain(", ".join(f"{name}={_fact(value)}" for name, value in entry.detail.items())),
            _plain(entry.request_id),
        )
    more = [_facts([("more", _plain("there are older entries: raise --limit, or set --until"))])]
    _print(table, *_missing(log.unavailable), *(more if log.has_more else []))


def _missing(unavailable: Sequence[str]) -> list[Table]:
    if not unavailable:
        return []
    return [_facts([("unavailable", _plain(f"{', '.join(unavailable)} (the list is incomplete)"))])]


def _fact(value: Any) -> str:
    if isinstance(value, list):
        return _ids(value)
    return UNKNOWN if value is None else str(value)


def _ids(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values)) or UNKNOWN


def _accepted_at(timeline: Timeline) -> datetime:
    return next((step.at for step in timeline.steps if step.step == ACCEPTED), timeline.steps[0].at)


def _waiting(overview: Overview) -> Iterable[tuple[str, Text]]:
    yield (
        "outbox",
        Text(f"{_count(overview.outbox_unpublished)} unpublished, lag {_duration(overview.outbox_lag_seconds)}"),
    )
    yield "pending", Text(f"{_count(overview.pending)} transfers, {_count(overview.stale_pending)} stale")
    yield "dead letters", Text(_count(overview.dead_letters), "bold red" if overview.dead_letters else "")
    yield "proof", _proof_line(overview)
    for job in overview.jobs:
        yield f"job {job.name}", Text("last success ").append_text(_time(job.last_success))
    for service in overview.services:
        yield f"service {service.name}", Text("ready", "green") if service.ready else Text("not ready", "bold red")


def _proof_line(overview: Overview) -> Text:
    if overview.proof_ok is None:
        return Text("none yet", "yellow")
    verdict = ("ok", "green") if overview.proof_ok else ("FAILED", "bold red")
    return Text.assemble(verdict, " at ", _time(overview.proof_at))


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading.lstrip(">"), justify="right" if heading.startswith(">") else "left", overflow="fold")
    return table


def _facts(facts: Iterable[tuple[str, Text]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in facts:
        table.add_row(Text(printable(name), "bold"), value)
    return table


def _print(*tables: Table) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    with console.capture() as captured:
        for number, table in enumerate(tables):
            console.print(*([""] if number else []), table, sep="\n")
    for line in captured.get().splitlines():
        click.echo(line.rstrip(), color=console.is_terminal)


def _plain(text: str) -> Text:
    # Text, not markup: a description may contain [brackets].
    return Text(printable(text))


def _coloured(word: str) -> Text:
    return Text(printable(word), _COLOURS.get(word, ""))


def _clock(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[11:23]


def _time(moment: datetime | None) -> Text:
    return Text(moment.astimezone(UTC).isoformat(sep=" ", timespec="seconds")[:19] + " UTC" if moment else UNKNOWN)


def _count(number: int | None) -> str:
    return UNKNOWN if number is None else f"{number:,}"


def _figure(number: float | None) -> str:
    return UNKNOWN if number is None else f"{number:,.1f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return UNKNOWN
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < SECONDS_SHOWN_MAX:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < MINUTES_SHOWN_MAX * 60 else f"{seconds / 3600:.1f} h"
