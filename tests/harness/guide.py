"""Run the examples of documents: blocks of shell and Python in order, and compare their output with the text."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ANYTHING = "…"
_BLOCK_SECONDS_MAX = 60
_STREAM_BYTES_MAX = 2**20
_DONE = "\x1e"


@dataclass(frozen=True, slots=True)
class Block:
    """The text between two fences. `line` is where it begins in its document."""

    kind: str
    text: str
    line: int


def blocks(document: Path) -> Iterator[Block]:
    """The fenced blocks of a document, in order."""
    text = document.read_text()
    for found in _FENCE.finditer(text):
        yield Block(found[1], found[2], text.count("\n", 0, found.start()) + 2)


def matches(promised: str, printed: str) -> bool:
    """Whether the output matches the document; `…` matches anything, also several lines."""
    parts = [re.escape(part.strip("\n")) for part in promised.strip().split(_ANYTHING)]
    return re.fullmatch(r"\s*" + ".*?".join(parts).replace(r"\ \ ", r"\ +") + r"\s*", printed, re.DOTALL) is not None


class Shell:
    """One bash that runs block after block."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def run(self, text: str, *, line: int = 0) -> str:
        """The output of a block, errors included.

        Raises:
            AssertionError: its last command failed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # A command of the block must not read the shell's own standard input.
        self._process.stdin.write(f"{{ {text}\n}} </dev/null\nprintf '{_DONE}%s{_DONE}' $?\n".encode())
        async with asyncio.timeout(_BLOCK_SECONDS_MAX):
            printed = await self._process.stdout.readuntil(_DONE.encode())
            code = await self._process.stdout.readuntil(_DONE.encode())
        out = printed.decode().removesuffix(_DONE)
        assert "0" + _DONE == code.decode(), f"line {line}: exit code {code.decode().removesuffix(_DONE)}:\n{out}"
        return out.replace("\r", "")


@asynccontextmanager
async def shell(directory: Path, environment: Mapping[str, str]) -> AsyncIterator[Shell]:
    """A bash in this folder."""
    process = await asyncio.create_subprocess_exec(
        "bash",
        cwd=directory,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=_STREAM_BYTES_MAX,
    )
    try:
        yield Shell(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def run_python(text: str, names: dict[str, Any]) -> None:
    """Run a block as `python -m asyncio` would: top-level `await`, and names kept for the next block."""
    code = compile(text, "<guide>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    async with asyncio.timeout(_BLOCK_SECONDS_MAX):
        await _evaluate(code, names)


async def _evaluate(code: CodeType, names: dict[str, Any]) -> None:
    result = eval(code, names)
    if inspect.iscoroutine(result):
        await result
