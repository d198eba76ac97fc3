"""`python -m services.<service> <role>`: settings, logs, signals, one task group, an exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import structlog
import uvloop
from aiohttp import web

from services.chassis import crash_points, logs, metrics, telemetry
from services.chassis.health import Health, metrics_application
from services.chassis.settings import BadConfiguration, ProcessSettings, RoleSettings, list_unread_files, load

log = structlog.get_logger()

GARBAGE_THRESHOLD = 20_000
CANCEL_SECONDS = 0.2
STOP_SECONDS_MAX = 24.0
"""From the stop signal to the end of the process: 20 s for open requests, and a margin. Supervisors kill it afterwards."""

METRICS_STOP_SECONDS = 1.0
OPEN_FILES_MAX = 65_536
"""More than the connections that any role accepts. Container engines start processes with a limit of 1,024."""

TASKS_LOGGED_MAX = 20
DISTRIBUTION = "payflow-server"
UNKNOWN = "unknown"
EXIT_FAULT = 1
EXIT_BAD_CONFIGURATION = 2


@dataclass(slots=True)
class Runtime:
    """The context of a running role: its identity, its health, and the event that stops it."""

    service: str
    role: str
    instance: str
    health: Health = field(default_factory=Health)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    fault: BaseException | None = None

    async def until_stopped(self) -> None:
        """Wait for SIGTERM or SIGINT."""
        await self.stopping.wait()

    def run_beside(self, stack: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
        """Run a background task until the stack closes. If it fails, the process ends, and its supervisor restarts it."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._watch)

        async def end() -> None:
            # Repeatedly: a driver may swallow a cancellation (redis-py does while it connects).
            while not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=CANCEL_SECONDS)

        stack.push_async_callback(end)

    def _watch(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.fault = task.exception()
            self.stopping.set()

    async def pause(self, seconds: float) -> None:
        """Sleep, at most until the role is stopped."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            pass


Serve = Callable[[Any, Runtime], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Role:
    """One way to run a service: its settings, and the coroutine that runs until the runtime stops it."""

    settings: type[RoleSettings]
    serve: Serve


@dataclass(frozen=True, slots=True)
class Job:
    """A task that runs once: its settings, and the coroutine that gets the remaining arguments."""

    settings: type[ProcessSettings]
    run: Callable[[Any, list[str]], Awaitable[None]]


class JobFailed(Exception):  # noqa: N818 - reads as what it is
    """The job failed; the message is the reason, in one line."""


def run(service: str, roles: Mapping[str, Role], jobs: Mapping[str, Job], arguments: list[str]) -> NoReturn:
    """Run the role or job named by the first argument; exit code 0 clean, 1 fault, 2 bad configuration or usage."""
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if name in roles and not rest:
        _run_role(service, name, roles[name])
    if name in jobs:
        _run_job(service, name, jobs[name], rest)
    print(f"usage: python -m services.{service} {{{'|'.join([*roles, *jobs])}}}", file=sys.stderr)  # noqa: T201
    sys.exit(EXIT_BAD_CONFIGURATION)


def _run_job(service: str, name: str, job: Job, arguments: list[str]) -> NoReturn:
    try:
        settings = load(job.settings)
        logs.configure(service=service, role=name, instance=f"{service}-{name}", level="info", console=False)
        asyncio.run(job.run(settings, arguments))  # type: ignore[arg-type]
    except BadConfiguration as error:
        print(f"{service} {name}: {error}", file=sys.stderr)  # noqa: T201 - one line for an operator
        sys.exit(EXIT_BAD_CONFIGURATION)
    except (JobFailed, OSError) as error:
        print(f"{service} {name}: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_FAULT)
    sys.exit(0)


def _run_role(service: str, name: str, role: Role) -> NoReturn:
    try:
        settings = load(role.settings)
        settings.identity_keys  # noqa: B018 - a malformed key must stop the start, here and in one line
    except (BadConfiguration, ValueError) as error:
        print(f"{service} {name}: {error}", file=sys.stderr)  # noqa: T201 - logs are not configured yet
        sys.exit(EXIT_BAD_CONFIGURATION)
    instance = settings.instance or f"{service}-{name}"
    logs.configure(
        service=service,
        role=name,
        instance=instance,
        level=settings.log_level,
        console=settings.log_format == "console",
    )
    if unread := list_unread_files(settings):
        log.warning("settings_files_ignored", files=unread)
    metrics.BUILD.labels(_version(), settings.revision or UNKNOWN).set(1)
    if settings.otlp_endpoint:
        _configure_spans(settings.otlp_endpoint, service, instance)
    if settings.crash_at:
        crash_points.arm(crash_points.parse(settings.crash_at))
    _raise_file_limit()
    sys.exit(uvloop.run(_serve(role, settings, Runtime(service=service, role=name, instance=instance))))


def _configure_spans(endpoint: str, service: str, instance: str) -> None:
    try:
        telemetry.configure(endpoint, service=service, instance=instance)
    except ImportError:
        print(f"{instance}: PAYFLOW_OTLP_ENDPOINT needs the extra otel: payflow-server[otel]", file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_BAD_CONFIGURATION)


def _raise_file_limit() -> None:
    """Let the process open as many files as it is permitted to, at most OPEN_FILES_MAX; each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_MAX)
    if resource.RLIM_INFINITY != soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _version() -> str:
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:  # the sources were copied without being installed
        return UNKNOWN


def collect_rarely() -> None:
    """Configure the garbage collector for a process that has started and now handles batches.

    Objects built at start live as long as the process: the collector need not scan them again. Objects of a batch are freed by
    reference counting: a scan every 700 objects only costs time.
    """
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, 20, 50)


async def _serve(role: Role, settings: RoleSettings, runtime: Runtime) -> int:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, runtime)
    runtime.health.starting = True
    metrics_app = metrics_application(runtime.health)
    runner = web.AppRunner(metrics_app, access_log=None, shutdown_timeout=METRICS_STOP_SECONDS)
    await runner.setup()
    bound = asyncio.create_task(_bound_stop(runtime, loop))
    try:
        await web.TCPSite(runner, settings.host, settings.metrics_port).start()
        log.info("role_started")
        collect_rarely()
        await role.serve(settings, runtime)
        if runtime.fault is not None:
            raise runtime.fault  # noqa: TRY301 - handled like any fault of the role
    except Exception:
        log.exception("role_failed")
        return EXIT_FAULT
    finally:
        # However the role ended, its time to stop starts here.
        runtime.stopping.set()
        await bound
        await runner.cleanup()
        await asyncio.to_thread(telemetry.close)
    log.info("role_stopped")
    return 0


def _stop(runtime: Runtime) -> None:
    runtime.health.draining = True
    runtime.stopping.set()


async def _bound_stop(runtime: Runtime, loop: asyncio.AbstractEventLoop) -> None:
    """Limit the time to stop. A thread does it, because the event loop itself may hang."""
    await runtime.stopping.wait()
    clock = threading.Timer(STOP_SECONDS_MAX, _abort, (loop,))
    clock.daemon = True
    clock.start()


def _abort(loop: asyncio.AbstractEventLoop) -> NoReturn:
    """End the process at once, and log what it was still waiting for."""
    try:
        log.error("role_shutdown_timed_out", seconds=STOP_SECONDS_MAX, main=_main_frame(), tasks=_waiting(loop))
    finally:
        os._exit(EXIT_FAULT)


def _main_frame() -> str:
    frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001 - documented for this purpose
    return "" if frame is None else _location(frame)


def _waiting(loop: asyncio.AbstractEventLoop) -> list[str]:
    """The remaining tasks: the name of each, and the functions in which it waits."""
    return [f"{task.get_name()}: {_where(task)}" for task in list(asyncio.all_tasks(loop))[:TASKS_LOGGED_MAX]]


def _where(task: asyncio.Task[Any]) -> str:
    locations = []
    awaited: Any = task.get_coro()
    while (frame := getattr(awaited, "cr_frame", None)) is not None:
        locations.append(_location(frame))
        awaited = awaited.cr_await
    return " > ".join(locations[:1] + locations[-2:]) if len(locations) > 2 else " > ".join(locations)  # noqa: PLR2004


def _location(frame: FrameType) -> str:
    return f"{frame.f_code.co_qualname} ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})"
