"""`python -m deploy.doctor local|compose|microk8s [--before] [--json]`: what `make doctor` calls."""

from __future__ import annotations

import argparse
import importlib
import sys

from deploy import programs
from deploy.doctor import findings
from deploy.local.errors import LocalError
from deploy.programs import DeployError

TARGETS = ("local", "compose", "microk8s")


def main() -> int:
    """Run the checks of a target and print what they found; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.doctor", description=__doc__, allow_abbrev=False)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--before", action="store_true", help="check what can be known before the deployment")
    parser.add_argument("--context", help="a context of your kubeconfig, in place of MicroK8s on this machine")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    options = parser.parse_args()
    if options.context is not None and options.target != "microk8s":
        raise DeployError(f"the target {options.target} has no context: it is on this machine")
    # Each target loads only its own drivers.
    target = importlib.import_module(f"deploy.doctor.targets.{options.target}")
    check = target.before if options.before else target.after
    try:
        found = list(check() if options.context is None else check(options.context))
    except LocalError as error:
        raise DeployError(str(error)) from None
    if options.context is not None:
        found = [findings.for_context(finding, options.context) for finding in found]
    print(findings.report(options.target, found, as_json=options.json))
    return findings.exit_code(found)


if __name__ == "__main__":
    sys.exit(programs.exit_code(main))
