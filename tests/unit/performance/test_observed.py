from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.home import REPOSITORY
from tests.performance import observed

PROGRAM = """
import sys
import structlog
from prometheus_client import generate_latest
from services.chassis import logs, metrics
from services.transaction import commands
from services.transaction import metrics as transfers

logs.configure(service="transaction", role="api", instance="i", level="info", console=False)
structlog.get_logger().info("transfer_accepted")
metrics.http_seconds("s", route="/", method="GET", status=200).observe(1.0)
metrics.OUTBOX_LAG.labels("transaction").set(7)
transfers.count_accepted(["payment"])
commands._log_finalized([{"id": 1, "status": "COMPLETED", "request_id": "r"}])
recorded = [line for line in generate_latest().decode().splitlines() if line.startswith("payflow") and "_created" not in line]
print(sum(float(line.rpartition(" ")[2]) > 0 for line in recorded), sys.argv[1:])
"""


@pytest.mark.parametrize("is_off", [False, True])
def test_the_file_switches_metrics_and_logs_off(tmp_path: Path, is_off: bool) -> None:
    """With the file no value is recorded and no line is written; without it the process is the one that users run."""
    switch = tmp_path / "unobserved"
    if is_off:
        switch.touch()
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "tests.performance.observed", str(switch), "program", "api"]

    done = subprocess.run(
        command, cwd=REPOSITORY, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )

    assert ("0 ['api']\n" == done.stdout) == is_off
    assert ("" == done.stderr) == is_off


@pytest.mark.parametrize("service", observed.RECORDERS)
def test_functions_that_only_record_exist(service: str) -> None:
    """A renamed one would be measured as if it were part of the service; what others need still happens."""
    program = f"from tests.performance import observed; observed.switch_off({service!r})"

    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, env={}, check=True)
