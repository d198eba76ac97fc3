"""The API guide: every example is run, and its output is compared with the guide."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from payflow import PayFlow
from tests.harness import guide
from tests.harness.stack import ROOT, Stack

GUIDE = ROOT / "docs" / "api-guide.md"
WRITTEN_GATEWAY = "http://127.0.0.1:8000"


async def test_every_example_of_the_guide(stack: Stack, tmp_path: Path) -> None:
    """Every shell and Python block of docs/api-guide.md succeeds, in order, and prints what the guide shows."""
    names: dict[str, Any] = {}
    printed, wrong = "", []
    environment = os.environ | {"XDG_CONFIG_HOME": str(tmp_path), "PAYFLOW_GATEWAY": stack["gateway"]}
    async with AsyncExitStack() as opened:
        shell = await opened.enter_async_context(guide.shell(tmp_path, environment))
        await shell.run(f"ln -s '{ROOT}/.venv' .venv; ln -s '{stack.home}' .payflow")
        opened.push_async_callback(close_clients, names)
        for block in guide.blocks(GUIDE):
            text = block.text.replace(WRITTEN_GATEWAY, stack["gateway"])
            if block.kind == "sh":
                printed = await shell.run(text, line=block.line)
            elif block.kind == "python":
                await guide.run_python(text, names)
            elif not guide.matches(text, printed):
                wrong.append(f"line {block.line}: {printed}")
    assert [] == wrong, "\n".join(wrong)


async def close_clients(names: Mapping[str, Any]) -> None:
    """Close the clients that the examples leave open for the reader."""
    for client in names.values():
        if isinstance(client, PayFlow):
            await client.close()
