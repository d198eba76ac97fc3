"""`python -m deploy.backup compare|reset|metrics`: checks a deployment, completes a restore, measures the backups."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from deploy.backup import databases, metrics
from deploy.backup.compare import Comparison
from deploy.backup.findings import MEANING
from deploy.backup.reset import Addresses, reset
from deploy.programs import DeployError, exit_code

EXIT_FINDINGS = 3
MANAGEMENT, REDIS = "PAYFLOW_RABBITMQ_MANAGEMENT_URL", "PAYFLOW_REDIS_URL"
DATABASES = "the owners' logins: PAYFLOW_<SERVICE>_OWNER_DATABASE_URL, as variables or as files of PAYFLOW_SECRETS_DIR"


def main() -> int:
    """Run the command that the arguments name; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.backup", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    comparing = commands.add_parser(
        "compare",
        help="compare every transfer, outcome, key, event, wallet and account",
        description=f"Exits with {EXIT_FINDINGS} if anything differs. {DATABASES}",
    )
    comparing.add_argument(
        "--json", action="store_true", help="print one JSON object per line, the last one with counts"
    )
    resetting = commands.add_parser(
        "reset",
        help="after a restore: discard what is newer than the databases",
        description=f"Empties the broker and Redis and ends all sessions. {DATABASES}; {MANAGEMENT}; {REDIS}",
    )
    measuring = commands.add_parser("metrics", help="serve the ages of the backups to Prometheus")
    measuring.add_argument("folder", type=Path, help="the folder of the backups")
    measuring.add_argument("port", type=int, help="the port of /metrics, on all interfaces")
    for command in (comparing, resetting):
        command.add_argument(
            "--stack", type=Path, metavar="FILE", help="the stack.json of a local stack, for all addresses"
        )
    options = parser.parse_args()
    if options.command == "metrics":
        metrics.serve(options.folder, options.port)
    if options.command == "compare":
        return asyncio.run(_compare(databases.urls(os.environ, options.stack), as_json=options.json))
    asyncio.run(reset(_addresses(os.environ, options.stack), print))
    return 0


async def _compare(urls: Mapping[str, str], *, as_json: bool) -> int:
    comparison = Comparison(urls)
    found: Counter[str] = Counter()
    async for finding in comparison.findings():
        found[finding.kind] += 1
        record = {"finding": finding.kind, "id": str(finding.id), "detail": finding.detail}
        print(json.dumps(record) if as_json else finding)
    if as_json:
        print(json.dumps({"compared": comparison.compared, "findings": dict(found)}))
        return EXIT_FINDINGS if found else 0
    print("compared: " + ", ".join(f"{count} {name}" for name, count in comparison.compared.items()))
    for kind, meaning in MEANING.items():
        if found[kind]:
            print(f"{kind}, {found[kind]} times: {meaning}")
    print("the databases differ: accept no request" if found else "the databases agree")
    return EXIT_FINDINGS if found else 0


def _addresses(environment: Mapping[str, str], stack: Path | None) -> Addresses:
    urls = databases.urls(environment, stack)
    if stack is not None:
        described = json.loads(stack.read_text())
        return Addresses(urls, management=described["rabbitmq_management"], redis=described["redis"])
    management, redis = (databases.secret(environment, name) for name in (MANAGEMENT, REDIS))
    if management is None or redis is None:
        raise DeployError(
            f"not set, neither as a variable nor as a file: {MANAGEMENT if management is None else REDIS}"
        )
    return Addresses(urls, management=management, redis=redis)


if __name__ == "__main__":
    sys.exit(exit_code(main))
