"""The house rules as tests: each message says what to do instead."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ROOT / "services"
SOURCES = sorted([*SERVICES.rglob("*.py"), *(ROOT / "payflow").rglob("*.py"), *(ROOT / "deploy").rglob("*.py")])
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
QUERIES = sorted([*SERVICES.glob("*/sql/queries*.sql"), *SERVICES.glob("*/sql/queries/*.sql")])


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _is_path(node: ast.BinOp) -> bool:
    """Whether this is `Path(...) / "name"` rather than a division."""
    return isinstance(node.right, ast.Constant) and isinstance(node.right.value, str)


def lines(path: Path) -> Iterator[tuple[int, str]]:
    yield from enumerate(path.read_text().splitlines(), start=1)


def found(pattern: str, paths: list[Path]) -> list[str]:
    """Where the pattern occurs."""
    return [f"{relative(path)}:{number}" for path in paths for number, line in lines(path) if re.search(pattern, line)]


def test_every_test_has_a_docstring() -> None:
    """Each test has a docstring that states the behaviour."""
    bare = [
        f"{relative(path)}::{node.name}"
        for path in TESTS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]

    assert [] == bare


def test_no_notes_of_unfinished_work_and_no_mocks() -> None:
    """No notes of unfinished work in the code, and no mock library in the tests: a fake is a small class."""
    assert [] == found(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b", [*SOURCES, *TESTS])
    assert [] == found(r"unittest\.mo" + r"ck|Magic" + r"Mock", [*SOURCES, *TESTS])


def test_tests_do_not_sleep() -> None:
    """A test waits for a condition with a deadline; a bare sleep of half a second or more is unreliable."""
    sleeps = [
        f"{relative(path)}:{node.lineno}"
        for path in TESTS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and node.args
        and isinstance(seconds := getattr(node.args[0], "value", None), int | float)
        and seconds >= 0.5
        and ast.unparse(node.func) in ("asyncio.sleep", "time.sleep")
        and "e2e" not in path.parts
    ]

    assert [] == sleeps


def test_only_the_consumer_acknowledges() -> None:
    """`ack`, `nack` and `reject` occur in one file."""
    elsewhere = [path for path in SOURCES if path != SERVICES / "chassis" / "consumer.py"]

    assert [] == found(r"\.(ack|nack|reject)\(", elsewhere)


def test_only_settings_read_the_environment() -> None:
    """Inside a service only pydantic-settings reads the environment, and the health check, which imports no package."""
    others = [path for path in sorted(SERVICES.rglob("*.py")) if path != SERVICES / "chassis" / "healthcheck.py"]

    assert [] == found(r"os\.environ|os\.getenv", others)


def test_statements_live_in_sql_files() -> None:
    """SQL is in sql/queries*.sql or sql/queries/*.sql under a name; Python contains none (a ping aside)."""
    statement = r"[\"'](SELECT|INSERT INTO|UPDATE|DELETE FROM) (?!1[\"'])"

    assert [] == found(statement, [path for path in SERVICES.rglob("*.py") if path.parent.name != "alembic"])


@pytest.mark.parametrize(
    "path", sorted([*SERVICES.glob("*/sql/queries*.sql"), *SERVICES.glob("*/sql/queries/*.sql")]), ids=relative
)
def test_every_statement_is_used(path: Path) -> None:
    """A named statement that no Python file mentions is unused."""
    names = re.findall(r"^-- name: (\w+)", path.read_text(), flags=re.MULTILINE)
    service = SERVICES / path.relative_to(SERVICES).parts[0]
    code = "\n".join(source.read_text() for source in service.rglob("*.py"))

    assert [] == [name for name in names if not re.search(rf"\b{name}\b", code)]


def test_the_chassis_does_not_mention_money() -> None:
    """What needs the word money is not part of the chassis."""
    chassis = sorted((SERVICES / "chassis").rglob("*.py"))

    assert [] == found(r"(?i)\b(wallet|account|balance|currency)s?\b", chassis)


def test_only_commands_open_transactions() -> None:
    """`commands.py`, `commands_<noun>.py` or `commands/<noun>.py` opens transactions, by means of the chassis."""
    outside = [
        path
        for path in SERVICES.rglob("*.py")
        if not re.fullmatch(r"commands(_[a-z_]+)?\.py", path.name) and not {"chassis", "commands"} & set(path.parts)
    ]

    assert [] == found(r"database\.transaction\(|\.transaction\(\)", outside)


def test_money_is_never_a_float() -> None:
    """The money rules contain no float and no division that creates one."""
    names = ["contracts/money", "wallet/ledger", "wallet/store", "transaction/transfer", "transaction/affordability"]
    floats = [
        f"{name}:{node.lineno}"
        for name in names
        for node in ast.walk(ast.parse((SERVICES / f"{name}.py").read_text()))
        if (isinstance(node, ast.Name) and node.id in ("float", "Decimal", "round"))
        or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and not _is_path(node))
        or (isinstance(node, ast.Constant) and isinstance(node.value, float))
    ]

    assert [] == floats


def test_no_build_products_are_committed() -> None:
    """No build products, secrets or data in the repository."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )

    assert [] == [
        name for name in tracked if re.search(r"\.pyc$|\.pem$|^\.payflow/|^\.deploy/|^\.venv/|secrets\.json$", name)
    ]
