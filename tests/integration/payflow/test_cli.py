"""The command line: its output, its checks, and its one-line error messages."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import select
import shlex
import stat
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from payflow.session import FileSessionStore
from tests.integration.payflow.conftest import audit_entry

PAYFLOW = [sys.executable, "-c", "import sys; from payflow.cli import main; sys.exit(main())"]
TRANSFER_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
HELP_SECONDS_MAX = 0.150
OVERVIEW = {
    "queues": [
        {
            "name": "transfers.requested",
            "transfers": 1234,
            "messages": 20,
            "zone": "delayed",
            "oldest_seconds": 75.2,
            "drain_per_s": 61.7,
            "seconds_of_work": 20.0,
        },
        {
            "name": "notifications.transfers-finalized",
            "transfers": 0,
            "messages": 0,
            "zone": "normal",
            "oldest_seconds": None,
        },
    ],
    "outbox": {"unpublished": 7, "lag_seconds": 0.0123},
    "pending": 1241,
    "stale_pending": 2,
    "dead_letters": 1,
    "proof": {"ok": True, "at": "2026-01-02T12:00:00.000000Z"},
    "jobs": [{"name": "reversal", "last_success": "2026-01-02T12:00:01.000000Z"}],
    "services": [{"name": "wallet", "ready": False}],
    "added_later": {"kept": True},
}
CURRENCIES = {
    "items": [{"code": "USD", "exponent": 2, "name": "US Dollar"}, {"code": "JPY", "exponent": 0, "name": "Yen"}]
}


def sheet(off_by: int = 0) -> dict[str, Any]:
    return {
        "as_of": "2026-01-02T12:00:00.000000Z",
        "currencies": [
            {"currency": "USD", "customers": 200_000, "external": -200_000, "sum": 0},
            {"currency": "XTS", "customers": 100, "external": -100, "sum": 0, "test": True},
            {"currency": "JPY", "customers": 1500 + off_by, "external": -1500, "sum": off_by},
        ],
    }


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


async def login(run: Any, email: str = "ops@example.com") -> None:
    ran = await run("login", email)
    assert ran.code == 0, ran.err


# Output


async def test_login(gateway: Any, run: Any, configuration: Path) -> None:
    """A login prints the gateway and the user, and stores the session in a private file; no token is printed."""
    ran = await run("login", "alice@example.com")

    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"logged in to {gateway.url} as alice@example.com (user)\n"
    (kept,) = (configuration / "payflow" / "sessions").glob("*.json")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


async def test_login_json(gateway: Any, run: Any) -> None:
    """With --json the login is printed without a token."""
    ran = await run("login", "ops@example.com", "--json")

    document = json.loads(ran.out)
    assert (document["gateway"], document["user"]["role"]) == (gateway.url, "operator")
    assert "access-" not in ran.out


async def test_logout(gateway: Any, run: Any, configuration: Path) -> None:
    """After a logout no session is stored, and a second logout is an error."""
    await login(run)

    assert (await run("logout")).out == f"logged out of {gateway.url}\n"
    assert list((configuration / "payflow" / "sessions").glob("*.json")) == []
    assert gateway.access == {}

    again = await run("logout")
    assert (again.code, again.out) == (1, "")
    assert again.err == f"payflow: not logged in to {gateway.url}: run `payflow login EMAIL`\n"


async def test_trace_as_operator(gateway: Any, run: Any, timeline: Any) -> None:
    """An operator traces any transfer: each step with the ms since acceptance, what it waits for, and the sentence."""
    gateway.documents[f"/ops/transfers/{TRANSFER_ID}/timeline"] = timeline(TRANSFER_ID, waiting_for="worker")
    await login(run)

    ran = await run("trace", TRANSFER_ID)

    assert (ran.code, ran.err) == (0, "")
    rows = [line.split() for line in ran.out.splitlines()]
    assert ["03:04:05.000", "0.0", "+0.0", "transaction", "accepted", "number", "0,", "redelivered", "false"] in rows
    assert ["03:04:05.025", "25.0", "+12.5", "transaction", "picked_up", "number", "2,", "redelivered", "false"] in rows
    assert ["waits", "for", "worker:", "a", "worker,", "which", "sends", "it", "to", "the", "wallet", "service"] in rows
    assert "Your transfer is on its way [soon]." in ran.out
    assert all(line == line.rstrip() for line in ran.out.splitlines())
    assert ["unavailable", "wallet", "(steps", "may", "be", "missing)"] in rows


@pytest.mark.parametrize("waiting_for", ["relay", "broker", "worker", "wallet", "reversal", "something_new"])
async def test_trace_names_what_it_waits_for(gateway: Any, run: Any, timeline: Any, waiting_for: str) -> None:
    """The trace names what the transfer waits for, also if this version does not know it."""
    gateway.documents[f"/ops/transfers/{TRANSFER_ID}/timeline"] = timeline(TRANSFER_ID, waiting_for=waiting_for)
    await login(run)

    ran = await run("trace", TRANSFER_ID)

    assert re.search(rf"^waits for +{waiting_for}\b", ran.out, re.MULTILINE)


async def test_trace_as_user(gateway: Any, run: Any, timeline: Any) -> None:
    """A user traces an own transfer by the route for users; the id may be in upper case."""
    gateway.documents[f"/transfers/{TRANSFER_ID}/timeline"] = timeline(TRANSFER_ID)
    await login(run, "alice@example.com")

    ran = await run("trace", TRANSFER_ID.upper())

    assert (ran.code, ran.err) == (0, "")
    assert "COMPLETED" in ran.out
    assert "waits for" not in ran.out


async def test_trace_without_steps(gateway: Any, run: Any, timeline: Any) -> None:
    """A timeline without steps is printed, not an error."""
    gateway.documents[f"/transfers/{TRANSFER_ID}/timeline"] = {**timeline(TRANSFER_ID), "steps": []}
    await login(run, "alice@example.com")

    assert (await run("trace", TRANSFER_ID)).code == 0


async def test_text_of_users_does_not_control_the_terminal(gateway: Any, run: Any, timeline: Any) -> None:
    """Escape sequences and markup in a detail or a summary have no effect."""
    hostile = {**timeline(TRANSFER_ID), "summary": "gone \x1b[2J\x1b]0;evil\x07 [red]x[/red]"}
    hostile["steps"][0]["detail"] = "line\nbreak \x1b[31m[/]"
    gateway.documents[f"/transfers/{TRANSFER_ID}/timeline"] = hostile
    await login(run, "alice@example.com")

    ran = await run("trace", TRANSFER_ID)

    assert ran.code == 0
    assert "\x1b" not in ran.out
    assert "\x07" not in ran.out
    assert "[red]x[/red]" in ran.out


async def test_queue(gateway: Any, run: Any) -> None:
    """The queues with depth, zone, age and seconds of work, then everything else that is pending."""
    gateway.documents["/ops/overview"] = OVERVIEW
    await login(run)

    ran = await run("queue")

    assert (ran.code, ran.err) == (0, "")
    rows = [line.split() for line in ran.out.splitlines()]
    assert ["transfers.requested", "1,234", "20", "delayed", "75.2", "s", "61.7", "20.0", "s"] in rows
    assert ["notifications.transfers-finalized", "0", "0", "normal", "-", "-", "-"] in rows
    assert ["outbox", "7", "unpublished,", "lag", "12", "ms"] in rows
    assert ["pending", "1,241", "transfers,", "2", "stale"] in rows
    assert ["dead", "letters", "1"] in rows
    assert ["service", "wallet", "not", "ready"] in rows


@pytest.mark.parametrize(("block", "said"), [(None, "the next block seals it."), (12, "block 12 seals it.")])
async def test_admit(gateway: Any, run: Any, block: int | None, said: str) -> None:
    """The reason is required and sent; the line says which block seals the outcome."""
    path = f"/ops/ledger/admissions/{TRANSFER_ID}"
    gateway.documents[path] = {
        "transfer_id": TRANSFER_ID, "reason": "a clock", "operator_id": TRANSFER_ID, "at": "2026-01-02T12:00:00.000000Z",
        "block": block,
    }  # fmt: skip
    await login(run)

    without = await run("ledger", "admit", TRANSFER_ID)
    ran = await run("ledger", "admit", TRANSFER_ID, "--reason", "a clock")

    assert (2, 0) == (without.code, ran.code)
    assert f"{TRANSFER_ID} is admitted (a clock): {said}\n" == ran.out
    assert {"reason": "a clock"} == gateway.seen(f"PUT {path}")[0].body


async def test_a_list_that_is_cut_says_so(gateway: Any, run: Any) -> None:
    """`payflow audit` prints below its table that there are older entries, but only if the limit left some out."""
    gateway.pages["/ops/audit"] = [audit_entry(number) for number in range(5)]
    await login(run)

    cut, whole = await run("audit", "--limit", "4"), await run("audit", "--limit", "5")

    assert "r-3" in cut.out
    assert "r-4" not in cut.out
    assert "there are older entries" in cut.out
    assert "r-4" in whole.out
    assert "there are older entries" not in whole.out


async def test_balance_sheet(gateway: Any, run: Any) -> None:
    """Amounts have the decimal digits of their currency; the canary's row is marked as no money."""
    gateway.documents |= {"/ops/ledger/balance-sheet": sheet(), "/currencies": CURRENCIES}
    await login(run)

    ran = await run("ledger", "balance-sheet")

    assert (ran.code, ran.err) == (0, "")
    rows = [line.split() for line in ran.out.splitlines()]
    assert ["USD", "2,000.00", "USD", "-2,000.00", "USD", "0.00", "USD"] in rows
    assert ["JPY", "1,500", "JPY", "-1,500", "JPY", "0", "JPY"] in rows
    assert ["XTS", "(test)", "100", "XTS", "-100", "XTS", "0", "XTS"] in rows


async def test_balance_sheet_that_does_not_balance(gateway: Any, run: Any) -> None:
    """Sums that do not add up to zero: exit code 3 and the currency."""
    gateway.documents |= {"/ops/ledger/balance-sheet": sheet(off_by=1), "/currencies": CURRENCIES}
    await login(run)

    ran = await run("ledger", "balance-sheet")

    assert (ran.code, ran.err) == (3, "payflow: the books do not balance in JPY\n")


async def test_json_is_the_gateways_document(gateway: Any, run: Any, timeline: Any) -> None:
    """With --json standard output is only the gateway's JSON, including unknown fields."""
    responses = {
        ("trace", TRANSFER_ID): (f"/ops/transfers/{TRANSFER_ID}/timeline", timeline(TRANSFER_ID, waiting_for="relay")),
        ("queue",): ("/ops/overview", OVERVIEW),
        ("ledger", "balance-sheet"): ("/ops/ledger/balance-sheet", sheet()),
    }
    gateway.documents |= {"/currencies": CURRENCIES, **dict(responses.values())}
    await login(run)

    for arguments, (_, document) in responses.items():
        ran = await run(*arguments, "--json")
        assert (ran.code, ran.err) == (0, "")
        assert json.loads(ran.out) == document

    assert json.loads((await run("logout", "--json")).out)["logged_out"] is True


async def test_json_stays_json_over_retries(gateway: Any, faults: Any, run: Any) -> None:
    """A retry prints nothing to standard output."""
    gateway.documents["/ops/overview"] = OVERVIEW
    await login(run)
    gateway.fail("GET /ops/overview", faults.refuse(503, "unavailable"), faults.cut(after=False))

    ran = await run("queue", "--json")

    assert json.loads(ran.out) == OVERVIEW
    assert ran.err == ""


# Errors


def one_line(ran: Any, *, code: int = 1) -> str:
    """The line, which must be the only output."""
    assert ran.code == code
    assert ran.out == ""
    assert ran.err.startswith("payflow: ")
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err
    return str(ran.err.removeprefix("payflow: ").rstrip("\n"))


COMMANDS = [("trace", TRANSFER_ID), ("queue",), ("ledger", "verify"), ("ledger", "balance-sheet"), ("logout",)]


@pytest.mark.parametrize("arguments", COMMANDS)
async def test_not_logged_in(gateway: Any, run: Any, arguments: tuple[str, ...]) -> None:
    """Without a session each command names the gateway, and how to log in; with --json the line is the same."""
    expected = f"not logged in to {gateway.url}: run `payflow login EMAIL`"

    assert one_line(await run(*arguments)) == expected
    assert one_line(await run(*arguments, "--json")) == expected


@pytest.mark.parametrize("arguments", COMMANDS[:-1])
async def test_session_ended(gateway: Any, run: Any, arguments: tuple[str, ...]) -> None:
    """An expired session is reported."""
    await login(run)
    gateway.end_sessions()

    assert one_line(await run(*arguments)) == f"the session at {gateway.url} has ended: run `payflow login EMAIL`"


@pytest.mark.parametrize("arguments", COMMANDS)
async def test_connection_refused(
    gateway: Any, run: Any, closed_port: int, configuration: Path, arguments: tuple[str, ...]
) -> None:
    """An unreachable gateway is named, within a second or two."""
    await login(run)
    (kept,) = (configuration / "payflow" / "sessions").glob("*.json")
    unreachable = f"http://127.0.0.1:{closed_port}"
    kept.rename(FileSessionStore(kept.parent, unreachable).path)
    began_at = time.monotonic()

    line = one_line(await run(*arguments, "--gateway", unreachable))

    assert line == f"cannot reach the gateway at {unreachable}: connection refused"
    assert time.monotonic() - began_at < 20
    assert gateway.url != unreachable


async def test_login_refused(run: Any, closed_port: int) -> None:
    """A wrong password, an unknown address and a gateway that is unreachable: one line each."""
    assert "e-mail address or the password is wrong (invalid_credentials" in one_line(
        await run("login", "x@example.com")
    )
    unreachable = f"http://127.0.0.1:{closed_port}"
    assert "connection refused" in one_line(await run("login", "x@example.com", "--gateway", unreachable))


@pytest.mark.parametrize("arguments", COMMANDS[1:-1])
async def test_operator_required(run: Any, arguments: tuple[str, ...]) -> None:
    """A user without the role operator gets `operator_required`."""
    await login(run, "alice@example.com")

    assert "(operator_required, request " in one_line(await run(*arguments))


@pytest.mark.parametrize("email", ["alice@example.com", "ops@example.com"])
async def test_unknown_transfer(run: Any, email: str) -> None:
    """An unknown id is not found."""
    await login(run, email)

    line = one_line(await run("trace", str(uuid.uuid4())))

    assert line == "There is no such transfer (transfer_not_found, request request-of-the-gateway)"


@pytest.mark.parametrize(
    "text", ["x", "", "01890a5dac96774bbcceb302099a8057", "{01890a5d-ac96-774b-bcce-b302099a8057}"]
)
async def test_malformed_id(gateway: Any, run: Any, text: str) -> None:
    """A malformed id is an error before any request."""
    line = one_line(await run("trace", text), code=2)

    assert f"{text!r} is not the id of a transfer; one looks like {TRANSFER_ID}" in line
    assert gateway.requests == []


async def test_usage(run: Any) -> None:
    """Unknown commands and options, and missing arguments: one line that names the help."""
    assert "(see `payflow --help`)" in one_line(await run("refund"), code=2)
    assert "(see `payflow queue --help`)" in one_line(await run("queue", "--nonsense"), code=2)
    assert "(see `payflow trace --help`)" in one_line(await run("trace"), code=2)
    assert "(see `payflow ledger --help`)" in one_line(await run("ledger", "burn"), code=2)


@pytest.mark.parametrize("address", ["nonsense", "ftp://h", "http://", "http://h:99999", "http://u:p@h"])
async def test_bad_address(run: Any, address: str) -> None:
    """A text that is not an address is named."""
    assert "is not the address of a gateway" in one_line(await run("queue", "--gateway", address))


async def test_unknown_host(run: Any) -> None:
    """A host that does not exist is named."""
    line = one_line(await run("login", "x@example.com", "--gateway", "http://nowhere.invalid:1"))

    assert line.endswith("there is no host nowhere.invalid")


async def test_foreign_server(gateway: Any, faults: Any, run: Any) -> None:
    """A server other than PayFlow is reported."""
    gateway.fail("POST /auth/login", faults.respond("<h1>Welcome</h1>"))

    assert "did not respond like a PayFlow gateway (200 text/html" in one_line(await run("login", "a@example.com"))


async def test_gateway_that_is_busy(gateway: Any, faults: Any, run: Any) -> None:
    """A refusal that lasts longer than the retries: the text of the gateway."""
    await login(run)
    gateway.always["GET /ops/overview"] = faults.refuse(503, "unavailable", retry_after="30", detail="Later.")

    line = one_line(await run("queue"))

    assert line == "Later (unavailable, request request-of-the-gateway); try again in 30 s"


async def test_unexpected_response(gateway: Any, run: Any) -> None:
    """A response of another shape is one line, not a traceback."""
    gateway.documents["/ops/overview"] = {"queues": [{"name": "q", "transfers": "many"}]}
    await login(run)

    assert "cannot be read" in one_line(await run("queue"))


async def test_session_file_that_other_users_may_read(run: Any, configuration: Path) -> None:
    """A session file that other users may read is not used."""
    await login(run)
    (kept,) = (configuration / "payflow" / "sessions").glob("*.json")
    kept.chmod(0o644)

    assert "other users may read" in one_line(await run("queue"))


async def test_malformed_session_file(gateway: Any, run: Any, configuration: Path) -> None:
    """A session file without a valid session counts as none."""
    await login(run)
    (kept,) = (configuration / "payflow" / "sessions").glob("*.json")
    kept.write_text('{"session": {"user": 1}}')

    assert one_line(await run("queue")) == f"not logged in to {gateway.url}: run `payflow login EMAIL`"


async def test_configuration_folder_that_is_a_file(run: Any, configuration: Path) -> None:
    """A session that cannot be stored: one line that names the file."""
    write(configuration, "a file in the way")

    assert "cannot store the session in" in one_line(await run("login", "alice@example.com"))


# The address of the gateway


async def test_gateway_by_option(gateway: Any, run: Any, monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    """--gateway overrides the variable, before the command or after it."""
    monkeypatch.setenv("PAYFLOW_GATEWAY", f"http://127.0.0.1:{closed_port}")

    assert (await run("login", "ops@example.com", "--gateway", f"{gateway.url}/")).code == 0
    assert (await run("--gateway", gateway.url, "logout")).code == 0


async def test_gateway_of_the_stack(gateway: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without option and variable it is the stack running below the working folder; a malformed stack.json is reported."""
    monkeypatch.delenv("PAYFLOW_GATEWAY")
    stack = Path(".payflow/stack.json")
    write(stack, json.dumps({"gateway": gateway.url, "services": {}}))

    assert (await run("login", "ops@example.com")).code == 0

    write(stack, '{"gateway"')
    assert one_line(await run("queue")) == f"{stack} names no gateway; name it with --gateway"


# As a separate process


@pytest.mark.full_drill
def test_help_is_fast() -> None:
    """`payflow --help` takes at most 150 ms of processor time, the best of seven; waiting for others does not count."""
    took_seconds: list[float] = []
    for _ in range(7):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ran = subprocess.run([*PAYFLOW, "--help"], capture_output=True, text=True, check=True, timeout=10)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took_seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)

    assert all(name in ran.stdout for name in ("login", "logout", "trace", "queue", "ledger"))
    assert min(took_seconds) < HELP_SECONDS_MAX, took_seconds


def test_help_loads_little() -> None:
    """Neither the HTTP library nor asyncio nor rich is loaded for a help text."""
    probe = (
        "import sys; from payflow.cli import main; main(['--help']); main(['ledger', 'verify', '--help']);"
        "print([name for name in ('aiohttp', 'asyncio', 'rich', 'services') if name in sys.modules], file=sys.stderr)"
    )

    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=10)

    assert ran.stderr.strip() == "[]"


def test_stands_alone() -> None:
    """The client and every command work without a module of the services: they meet over HTTP only."""
    probe = (
        "import importlib, pkgutil, sys, payflow;"
        "[importlib.import_module(found.name) for found in pkgutil.walk_packages(payflow.__path__, 'payflow.')];"
        "print('payflow.client' in sys.modules, sorted(name for name in sys.modules if name.startswith('services')))"
    )

    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60)

    assert ran.stdout.strip() == "True []"


@pytest.mark.parametrize("arguments", [(), *COMMANDS, ("login", "a@example.com"), ("ledger",)])
async def test_every_command_has_help(run: Any, arguments: tuple[str, ...]) -> None:
    """--help explains each command, sends no request, and names --json and --gateway where they apply."""
    ran = await run(*arguments, "--help")

    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("Usage: payflow")
    if arguments not in ((), ("ledger",)):
        assert "--json" in ran.out
        assert "--gateway" in ran.out


async def test_no_command(run: Any) -> None:
    """Without a command the help is printed as a usage error."""
    ran = await run()

    assert ran.code == 2
    assert "Commands:" in ran.err


def test_exit_code_reaches_the_shell(configuration: Path) -> None:
    """A real process has the exit code and the line, without a traceback."""
    ran = subprocess.run(
        [*PAYFLOW, "queue", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
        cwd=configuration.parent,
        env={**os.environ, "PAYFLOW_GATEWAY": "http://127.0.0.1:9"},
    )

    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "payflow: not logged in to http://127.0.0.1:9: run `payflow login EMAIL`\n"


async def test_closed_pipe(gateway: Any, run: Any) -> None:
    """A pipe that is closed early ends the command without an error."""
    gateway.documents["/ops/overview"] = OVERVIEW
    await login(run)
    piped = f"{shlex.join([*PAYFLOW, 'queue'])} | true"

    ran = await asyncio.to_thread(
        subprocess.run, ["bash", "-c", piped], capture_output=True, text=True, check=False, timeout=20
    )

    assert (ran.stdout, ran.stderr) == ("", "")


def test_no_terminal_for_a_prompt(configuration: Path) -> None:
    """A script without PAYFLOW_PASSWORD gets an error and does not wait for a password."""
    ran = subprocess.run(
        [*PAYFLOW, "login", "a@example.com", "--gateway", "http://127.0.0.1:9"],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
        stdin=subprocess.DEVNULL,
        cwd=configuration.parent,
    )

    assert ran.returncode == 2
    assert ran.stderr.startswith("payflow: there is no terminal to prompt for the password; set PAYFLOW_PASSWORD")


async def test_password_prompt(gateway: Any, configuration: Path) -> None:
    """On a terminal there is a prompt for the password, which is not shown."""

    def talk() -> tuple[int, str]:
        # pty.spawn gives the command a terminal; the test types into it through a pipe.
        spawn = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
        command = [*PAYFLOW, "login", "alice@example.com", "--gateway", gateway.url]
        with subprocess.Popen(
            [sys.executable, "-c", spawn, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=configuration.parent,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            shown = b""
            while b"Password of alice@example.com: " not in shown:
                assert select.select([process.stdout], [], [], 10)[0], shown
                shown += os.read(process.stdout.fileno(), 1024)
            process.stdin.write(b"payflow-demo-1\n")
            process.stdin.flush()
            shown += process.stdout.read()
            process.stdin.close()
            return process.wait(timeout=10), shown.decode()

    code, shown = await asyncio.to_thread(talk)

    assert code == 0, shown
    assert "logged in to" in shown
    assert "payflow-demo-1" not in shown
