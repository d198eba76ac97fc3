"""`python -m deploy.k8s deploy|delete`: PayFlow on MicroK8s."""

from __future__ import annotations

import argparse
import sys

from deploy.k8s import commands
from deploy.programs import exit_code


def main(arguments: list[str] | None = None) -> int:
    """Run the command that the arguments name; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.k8s", description=__doc__, allow_abbrev=False)
    parser.add_argument("--context", help="a context of your kubeconfig, in place of MicroK8s on this machine")
    names = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    deploying = names.add_parser("deploy", help="deploy this tree, or update what runs")
    deploying.add_argument("--host", help="the name of the host; empty: every name")
    deploying.add_argument("--tls", type=int, choices=(0, 1), help="1: HTTPS by cert-manager")
    names.add_parser("delete", help="remove everything but the data")
    options = parser.parse_args(arguments)
    if options.command == "delete":
        return exit_code(lambda: commands.delete(options.context))
    tls = None if options.tls is None else bool(options.tls)
    return exit_code(lambda: commands.deploy(options.context, host=options.host, tls=tls))


if __name__ == "__main__":
    sys.exit(main())
