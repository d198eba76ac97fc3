"""`payflow ticket`: everything about one transfer in one archive."""

from __future__ import annotations

from pathlib import Path

import click

from payflow import command, prose
from payflow.command import Invocation
from payflow.errors import Misconfigured


@click.command
@click.argument("transfer_id", metavar="ID", callback=command.check_id)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The archive; default: ticket-ID.zip in this folder.",
)
@command.standard
def ticket(invocation: Invocation, transfer_id: str, output: Path | None) -> None:
    """Write a redacted archive about the transfer ID (for operators).

    A ZIP file for a ticket, with the trace, the transfer, the overview, the last proof of the ledger, metrics of that time, log
    lines of the transfer, and versions. Secrets, e-mail addresses and what customers wrote are removed.

    Metrics come from PAYFLOW_PROMETHEUS_URL and log lines from PAYFLOW_LOKI_URL, or from the local stack of the gateway. What
    could not be read is named in the archive and on standard error.
    """
    from payflow import settings  # noqa: PLC0415 - not needed for a help text
    from payflow import ticket as tickets  # noqa: PLC0415 - loads the HTTP client

    sources = settings.find_sources(invocation.gateway)
    path = Path(f"ticket-{transfer_id}.zip") if output is None else output
    made = invocation.call(lambda payflow: tickets.collect(payflow, transfer_id, sources))
    try:
        made.write(path)
    except FileExistsError:
        raise Misconfigured(f"{path} exists; name another file with --output") from None
    except OSError as error:
        raise Misconfigured(f"cannot write {path}: {error.strerror}") from error
    if invocation.as_json:
        invocation.print_json({"path": str(path), "files": sorted(made.files), "missing": made.missing})
        return
    for name, reason in made.missing.items():
        click.echo(prose.printable(f"missing: {name}: {reason}"), err=True)
    click.echo(prose.printable(f"wrote {path}: {', '.join(sorted(made.files))}"))
