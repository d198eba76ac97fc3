"""What the command line prints for people: tables on a terminal, plain text in a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from payflow.account import SigningKeys
from payflow.api_key import ApiKey
from payflow.money import Currency
from payflow.operations import BalanceSheet, Overview, Proof
from payflow.prose import phrase, printable
from payflow.transfer import ACCEPTED, FAILED, PENDING, Timeline

PIPE_WIDTH = 200
"""Columns of a table that goes to a file or another program: nothing is folded that a pattern could look for."""

UNKNOWN = "-"
SECONDS_SHOWN_MAX = 100
MINUTES_SHOWN_MAX = 100

_WAITS = {
    "relay": "the relay, which hands it to the broker",
    "broker": "the broker, which hands it to a worker",
    "worker": "a worker, which has it posted",
    "wallet": "the wallet service, which moves the money",
    "reversal": "the reversal, which ends it",
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
    """The steps with the milliseconds since it was accepted, what it waits for, and the sentence for the customer."""
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
        facts.append(("not asked", _plain(f"{', '.join(timeline.unavailable)} (no answer; steps may be missing)")))
    facts.append(("customer", _plain(timeline.summary)))
    _print(table, _facts(facts))


def print_overview(overview: Overview) -> None:
    """The queues, then everything else that waits."""
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
    """Each check, and whether the ledger holds."""
    table = _table("check", "result", "detail")
    for check in proof.checks:
        result = Text("ok", "green") if check.ok else Text("FAILS", "bold red")
        table.add_row(_plain(check.name), result, _plain(phrase(check.detail)))
    holds = Text("the ledger holds", "green") if proof.ok else Text("the ledger does not hold", "bold red")
    _print(table, _facts([("proof", holds), ("as of", _time(proof.at)), ("head", _plain(proof.head or UNKNOWN))]))


def print_balance_sheet(sheet: BalanceSheet, currencies: Mapping[str, Currency]) -> None:
    """A row for each currency; the sum must be zero."""
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
    """A row for each key, oldest first."""
    table = _table("key", "state", "signs from", "retires")
    for key in found.keys:
        table.add_row(
            _plain(key.kid), _coloured(key.state), _time(key.signs_from), _time(key.retired_at or key.retires_at)
        )
    _print(table)


def print_api_keys(found: Iterable[ApiKey]) -> None:
    """A row for each key, newest first."""
    table = _table("id", "name", "key", "scopes", "created", "last used", "expires")
    for key in found:
        moments = (_time(moment) for moment in (key.created_at, key.last_used_at, key.expires_at))
        table.add_row(
            _plain(key.id), _plain(key.name), _plain(f"{key.prefix}_…"), _plain(" ".join(key.scopes)), *moments
        )
    _print(table)


def print_dead_letters(page: Mapping[str, Any]) -> None:
    """One row for each; the services that did not answer."""
    table = _table("last seen", "id", "queue", "state", ">seen", ">attempts", "reason", "transfers")
    for letter in page["items"]:
        table.add_row(
            _moment(letter["last_seen_at"]),
            _plain(letter["id"]),
            _plain(letter["queue"]),
            _coloured(letter["state"]),
            _count(letter["seen"]),
            _count(letter["attempts"]),
            _plain(letter["reason"]),
            _plain(_ids(letter["transfer_ids"])),
        )
    _print(table, *_missing(page))


def print_dead_letter(letter: Mapping[str, Any]) -> None:
    """Everything that is known of it; the body as text, or its bytes in base64."""
    facts = [(name.replace("_", " "), _plain(_fact(value))) for name, value in letter.items() if name != "body_base64"]
    if letter["body"] is None:
        facts.append(("bytes", _plain(letter["body_base64"])))
    _print(_facts(facts))


def print_replay(outlook: Mapping[str, Any]) -> None:
    """What it does to each transfer, and whether it was done."""
    table = _table("transfer", "status", "ledger", "effect", "detail")
    for transfer in outlook["transfers"]:
        outcome = transfer["outcome"] or ("undecided" if transfer["outcome_known"] is False else UNKNOWN)
        table.add_row(
            _plain(transfer["transfer_id"]),
            _coloured(transfer["status"] or UNKNOWN),
            _plain(outcome),
            _plain(transfer["effect"]),
            _plain(transfer["detail"]),
        )
    done = "no: a dry run" if outlook["dry_run"] else "yes"
    state = outlook["dead_letter"]["state"]
    facts = [("replayed", _plain(done)), ("state", _coloured(state)), ("about", _plain(outlook["detail"]))]
    _print(table, _facts(facts))


def print_audit(actions: Mapping[str, Any]) -> None:
    """One row for each action; the services that did not answer."""
    table = _table("time (UTC)", "service", "action", "actor", "subject", "detail", "request")
    for action in actions["items"]:
        subject = action["subject"]
        table.add_row(
            _moment(action["at"]),
            _plain(action["service"]),
            _plain(action["action"]),
            _plain(action["actor_id"] or UNKNOWN),
            _plain(f"{subject['kind']} {subject['id']}" if subject else UNKNOWN),
            _plain(", ".join(f"{name}={_fact(value)}" for name, value in action["detail"].items())),
            _plain(action["request_id"]),
        )
    cut = (
        [_facts([("cut", _plain("there are older ones: raise --limit, or give --until"))])]
        if actions["has_more"]
        else []
    )
    _print(table, *_missing(actions), *cut)


def _missing(page: Mapping[str, Any]) -> list[Table]:
    away = page["unavailable"]
    return [_facts([("not asked", _plain(f"{', '.join(away)} (no answer; something is missing)"))])] if away else []


def _fact(value: Any) -> str:
    if isinstance(value, list):
        return _ids(value)
    return UNKNOWN if value is None else str(value)


def _ids(values: list[Any]) -> str:
    return ", ".join(map(str, values)) or UNKNOWN


def _moment(text: str) -> Text:
    return _time(datetime.fromisoformat(text))


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
        yield f"job {job.name}", Text("last went well ").append_text(_time(job.last_success))
    for service in overview.services:
        yield f"service {service.name}", Text("ready", "green") if service.ready else Text("not ready", "bold red")


def _proof_line(overview: Overview) -> Text:
    if overview.proof_ok is None:
        return Text("none yet", "yellow")
    verdict = ("ok", "green") if overview.proof_ok else ("FAILS", "bold red")
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
    # Text, never markup: a description may well contain [brackets].
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
