"""When log lines are written, and that none is lost."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, cast

import structlog

from services.chassis import logs
from services.chassis.log_lines import LineBuffer

ROOT = Path(__file__).parents[3]
START = """
import asyncio, os, structlog
from services.chassis import crash_points, logs
logs.configure(service="s", role="r", instance="i", level="info", console=False)
log = structlog.get_logger()
"""


class Stream(io.StringIO):
    """Remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        """Remember it."""
        self.writes.append(text)
        return len(text)


def run(program: str) -> tuple[int, list[str]]:
    """Run this in a process; its exit status, and the events that it logged."""
    done = subprocess.run(
        [sys.executable, "-c", START + program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("{")]
    return done.returncode, [json.loads(line)["event"] for line in lines]


async def test_lines_of_one_iteration_are_written_together() -> None:
    """In order, and before the next iteration ends."""
    stream = Stream()
    lines = LineBuffer(stream)
    for _ in range(2):
        lines.info("one")
        lines.error("two")
        await asyncio.sleep(0)

    assert ["one\ntwo\n", "one\ntwo\n"] == stream.writes


def test_without_an_event_loop_a_line_is_written_at_once() -> None:
    """For instance in a job."""
    stream = Stream()
    LineBuffer(stream).info("one")

    assert ["one\n"] == stream.writes


async def test_a_thread_writes_at_once() -> None:
    """With the lines before its own: the event loop may be stuck."""
    stream = Stream()
    lines = LineBuffer(stream)
    lines.info("one")
    thread = threading.Thread(target=lines.info, args=("two",))
    thread.start()
    thread.join()

    assert ["one\ntwo\n"] == stream.writes


def test_an_event_loop_that_ended_early_does_not_hold_lines_back() -> None:
    """Lines of a later event loop are written."""
    stream = Stream()
    lines = LineBuffer(stream)

    async def log(text: str) -> None:
        lines.info(text)

    first = asyncio.new_event_loop()
    first.call_soon(lines.info, "one")
    first.call_soon(first.stop)
    first.run_forever()
    first.close()
    asyncio.run(log("two"))

    assert "one\ntwo\n" == "".join(stream.writes)


def test_no_line_is_lost_when_a_process_ends_by_an_exception() -> None:
    """The lines of the last iteration are written at exit."""
    status, events = run("""
loop = asyncio.new_event_loop()
loop.call_soon(lambda: log.info("last"))
loop.call_soon(loop.stop)
loop.run_forever()
raise RuntimeError
""")

    assert 1 == status
    assert ["last"] == events


def test_a_crash_point_writes_all_lines_first() -> None:
    """The line that names the point is the last one."""
    status, events = run("""
async def main():
    log.info("begun")
    crash_points.arm(crash_points.parse("before-ack:queue"))
    crash_points.pass_by("before-ack", "queue")
asyncio.run(main())
""")

    assert -signal.SIGKILL == status
    assert ["begun", "crash_point_passed"] == events


def test_a_line_is_ascii_json_whatever_it_contains() -> None:
    """Characters that end a line or control a terminal are escaped, and nothing that is logged raises an error."""
    event = {"event": "tried", "path": "/\udcff\u2028\x9b\n", "value": 2**80, "object": io, "raw": b"x", 1: None}
    line = logs.render(None, "info", cast("dict[str, Any]", dict(event)))

    assert line.isascii()
    assert line.isprintable()
    assert event["path"] == json.loads(line)["path"]
    assert "Zo\\u00eb" in logs.render(None, "info", {"event": "tried", "name": "Zoë"})


def test_secrets_are_redacted_in_the_whole_pipeline() -> None:
    """As configured for a role, in fields, texts and exceptions."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            START
            + """
import logging
log.info("tried", token="s3cret-1", reason="amqp://payflow:s3cret-2@host/", name="alice@example.com")
try:
    raise ValueError("redis://:s3cret-3@host")
except ValueError:
    log.exception("failed")
logging.getLogger("library").warning("postgresql://owner:s3cret-4@host")
""",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )

    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert ["tried", "failed", "postgresql://[redacted]@host"] == [line["event"] for line in lines]
    assert "s3cret" not in done.stderr
    assert "alice" not in done.stderr
    assert {"service", "role", "instance", "level", "timestamp"} <= set(lines[0]) & set(lines[1]) & set(lines[2])
    assert {"info", "error", "warning"} == {line["level"] for line in lines}


def test_loggers_keep_their_methods() -> None:
    """Every level of structlog ends at the buffer."""
    stream = Stream()
    lines = LineBuffer(stream)
    logger = structlog.wrap_logger(
        lines,
        processors=[lambda _logger, _name, event: event["event"]],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )
    for level in ("debug", "info", "warning", "error", "critical", "exception", "warn", "fatal"):
        getattr(logger, level)(level)

    assert 8 == len(stream.writes)
