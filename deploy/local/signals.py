"""Signals that end a command: they cancel its task once, so that it can clean up."""

from __future__ import annotations

import asyncio
import signal

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def cancel_on_signals(task: asyncio.Future[None]) -> None:
    """Cancel the task at the first signal that ends a program; later ones are ignored."""
    loop = asyncio.get_running_loop()
    for number in ENDING_SIGNALS:
        # An ignored SIGHUP stays ignored, for `nohup`; an ignored SIGINT only means a background job of a script.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, _cancel_once, task)


def _cancel_once(task: asyncio.Future[None]) -> None:
    if isinstance(task, asyncio.Task) and not task.cancelling():
        task.cancel()
