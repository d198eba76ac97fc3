from __future__ import annotations

import pytest

from deploy.local.__main__ import main


@pytest.mark.parametrize("arguments", [["foo"], ["run", "demo"], ["RUN"], ["--verbose"]])
def test_an_unknown_command_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Standard error names the command and the known ones; the exit code is that of a usage error."""
    assert main(arguments) == 2

    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert arguments[0] in output.err
    assert "run|demo|stop|clean" in output.err


def test_help_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` prints the usage on stdout and succeeds."""
    assert main(["--help"]) == 0
    assert "run|demo|stop|clean" in capsys.readouterr().out
