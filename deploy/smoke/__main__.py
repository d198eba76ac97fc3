"""`python -m deploy.smoke URL`: what `make smoke` calls."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys

from deploy.programs import exit_code
from deploy.smoke import settings, table, transfer


def main() -> int:
    """Run the smoke test and print its steps; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.smoke", description=__doc__, allow_abbrev=False)
    parser.add_argument("url", nargs="?", default="", metavar="URL", help="the published address")
    parser.add_argument("--json", action="store_true", help="print the steps as JSON")
    parser.add_argument("--seconds-max", type=float, default=transfer.SECONDS_MAX, help="the time for the whole run")
    options = parser.parse_args()
    gateway = settings.check_address(options.url)
    operator = settings.Operator.from_environment(os.environ)
    settings.check_ca_file(os.environ)
    record = asyncio.run(transfer.run(gateway, operator, seconds_max=options.seconds_max))
    if options.json:
        print(json.dumps(record.document(), indent=2))
    elif any(step.ok for step in record.steps):
        table.show(record)
    if record.error is not None:
        print(f"payflow: {record.error}", file=sys.stderr)
    return int(record.error is not None)


if __name__ == "__main__":
    sys.exit(exit_code(main))
