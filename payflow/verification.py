"""Verify the ledger: start a run of the proof, show its progress, and return its result."""

from __future__ import annotations

import asyncio
import sys
import time

import click

from payflow.client import PayFlow
from payflow.errors import PayFlowError, Problem
from payflow.operations import Proof, ProofRun
from payflow.prose import printable

POLL_SECONDS_MIN = 0.1
POLL_SECONDS_MAX = 1.0

ERASE_LINE = "\r\x1b[2K"


class VerificationImpossible(PayFlowError):  # noqa: N818 - reads as what it is
    """There is no result; the text is one line that says why, and what to do."""


def is_terminal() -> bool:
    """Whether progress is shown."""
    return sys.stderr.isatty()


async def verify(payflow: PayFlow, *, full: bool, head: str | None) -> Proof:
    """Start a run, or join the one in progress, and wait for its result, as long as it takes.

    Progress is shown on standard error if it is a terminal.

    Raises:
        VerificationImpossible: the run was abandoned, or the gateway is of an earlier release.
        Problem: `proof_running`.
    """
    called_at = time.monotonic()
    run = await _start(payflow, full=full, head=head)
    pause = POLL_SECONDS_MIN
    try:
        while run.state == "running":
            _show(run, called_at)
            await asyncio.sleep(pause)
            pause = min(pause * 2, POLL_SECONDS_MAX)
            run = await payflow.operator.proof_run(run.id)
    finally:
        if is_terminal():
            click.echo(ERASE_LINE, err=True, nl=False)
    if run.proof is None:
        raise VerificationImpossible(
            f"the run was abandoned at check {run.checks_done + 1} of {run.checks_total}: its process ended, or the database was "
            "unavailable; run the command again"
        )
    return run.proof


async def _start(payflow: PayFlow, *, full: bool, head: str | None) -> ProofRun:
    try:
        return await payflow.operator.start_proof(full=full, head=head)
    except Problem as problem:
        if problem.code in {"not_found", "method_not_allowed"}:
            raise VerificationImpossible(
                "the gateway is of an earlier release and cannot do this: upgrade it, or use its command line"
            ) from None
        raise


def _show(run: ProofRun, called_at: float) -> None:
    if not is_terminal():
        return
    blocks = "" if run.blocks_total is None else f", {run.blocks_done:,} of {run.blocks_total:,} blocks"
    seconds = time.monotonic() - called_at
    check = f": {printable(run.check)}" if run.check else ""
    line = f"{run.checks_done} of {run.checks_total} checks{blocks}, {seconds:.0f} s{check}"
    click.echo(f"{ERASE_LINE}{line}", err=True, nl=False)
