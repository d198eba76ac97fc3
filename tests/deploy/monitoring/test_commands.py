"""The commands of the handbook are ones that their programs accept: the real program parses each and only shows its help."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import click
import pytest
from click.testing import CliRunner

from deploy.local.home import REPOSITORY
from deploy.programs import ENVIRONMENT_PROGRAMS, find
from payflow import cli

PAGES = sorted([*(REPOSITORY / "docs" / "operations").rglob("*.md"), *(REPOSITORY / "docs" / "deploy").rglob("*.md")])
BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", flags=re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
COMMAND = re.compile(r"(?:microk8s )?(kubectl|docker compose|payflow) (.+)")
OTHER_PROGRAM = re.compile(r"(?:^|\s)(?:exec|run)\s")
"""What follows the name of the container is a command of its own."""


def commands(program: str) -> list[tuple[str, ...]]:
    """The arguments of each command of a program, each once."""
    return sorted({tuple(arguments) for name, arguments in _commands() if name == program})


def _commands() -> Iterator[tuple[str, list[str]]]:
    for page in PAGES:
        text = page.read_text()
        lines = [line for block in BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()]
        for line in [*lines, *INLINE.findall(BLOCK.sub("", text))]:
            for part in re.split(r" [|&]+ | &$|; |\$\(|\)|2>|>", re.sub(r"\s#.*$|…", "", line)):
                found = COMMAND.fullmatch(re.sub(r"^(\w+=\S+ )+", "", part.strip()).removeprefix(".venv/bin/").strip())
                if found:
                    yield found[1], _without_inner_command(found[2])


def _without_inner_command(text: str) -> list[str]:
    return shlex.split(text[: inner.end()] if (inner := OTHER_PROGRAM.search(text)) else text)


def _form(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """What decides whether a command is accepted: its subcommand and its flags, without their values."""
    flags = {word.partition("=")[0] for word in arguments if word.startswith("-")}
    subcommand = [word for before, word in pairwise(("", *arguments)) if not {before[:1], word[:1]} & {"-"}]
    return (*subcommand[:1], *sorted(flags))


def rejected(program: list[str], arguments: list[tuple[str, ...]]) -> dict[str, str]:
    """The commands that a program does not accept, and what it says."""

    def parse(each: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        # The flags before --help are parsed; nothing is run.
        return subprocess.run([*program, *each, "--help"], capture_output=True, text=True, check=False)

    arguments = list({_form(each): each for each in arguments}.values())
    with ThreadPoolExecutor(4) as pool:
        done = zip(arguments, pool.map(parse, arguments), strict=True)
        return {shlex.join(each): result.stderr for each, result in done if result.returncode or not result.stdout}


def test_kubectl_accepts_its_commands() -> None:
    """Every subcommand and flag exists."""
    found = commands("kubectl")
    assert len(found) > 10
    assert rejected([str(ENVIRONMENT_PROGRAMS / "kubectl")], found) == {}


def test_docker_compose_accepts_its_commands() -> None:
    """Every subcommand and flag exists."""
    found = commands("docker compose")
    assert len(found) > 5
    assert rejected([find("docker-compose", hint="run `make lint`")], found) == {}


@pytest.mark.parametrize("arguments", commands("payflow"), ids=shlex.join)
def test_payflow_accepts_its_commands(arguments: tuple[str, ...]) -> None:
    """Every subcommand and option exists."""
    result = CliRunner().invoke(cli.program, [*arguments, "--help"])
    assert result.exit_code == 0, result.output
    # A group shows its help for a subcommand that it does not have.
    named = [word for word in arguments if not word.startswith("-")]
    command: click.Command | None = cli.program
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), named.pop(0))
    assert command is not None, arguments


def test_a_wrong_command_is_found() -> None:
    """A misspelt flag or subcommand."""
    kubectl = [str(ENVIRONMENT_PROGRAMS / "kubectl")]
    assert len(rejected(kubectl, [("get", "pods", "--selecter=a"), ("lgos", "pod/a")])) == 2
