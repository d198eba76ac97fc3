"""The mutation gate: each guard is removed in turn from a copy of the tree; at least one check must fail.

Without a NAME all mutants are tried. `--list` prints them, `--tree` writes the copy without one guard, for experiments.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.local import environment, files
from tests.mutation import tree
from tests.mutation.engines import Engines
from tests.mutation.mutant import Mutant
from tests.mutation.mutants import MUTANTS
from tests.mutation.run import CHECK_SECONDS_MAX, Run, Verdict, run

RUNS_MAX = 3
REPORT = tree.ROOT / ".payflow" / "mutants.json"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one mutant."""

    name: str
    guard: str
    fate: str
    check: str
    reason: str
    runs: int
    seconds: float


def main() -> int:
    """0 if every mutant was caught, 1 if one was not, 2 for invalid arguments."""
    environment.forget_driver_variables(os.environ)
    arguments = _parse()
    if arguments.list:
        for mutant in MUTANTS:
            print(f"{mutant.name:36} {mutant.guard}{_faults(mutant)}")
        return 0
    if arguments.tree:
        name, directory = arguments.tree
        return _write_tree(_choose([name])[0], Path(directory))
    with tempfile.TemporaryDirectory(prefix="payflow-mutants-") as scratch:
        return asyncio.run(_gate(_choose(arguments.names), Path(scratch)))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these mutants")
    parser.add_argument("--list", action="store_true", help="print the mutants")
    parser.add_argument("--tree", nargs=2, metavar=("NAME", "DIRECTORY"), help="only write the copy without this guard")
    return parser.parse_args()


def _choose(names: Sequence[str]) -> list[Mutant]:
    known = {mutant.name: mutant for mutant in MUTANTS}
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no such mutant: {', '.join(unknown)}; `python -m tests.mutation --list` prints them", file=sys.stderr)
        raise SystemExit(2)
    return [known[name] for name in names] or list(MUTANTS)


def _faults(mutant: Mutant) -> str:
    return f"  [chaos: {', '.join(mutant.faults)}]" if mutant.chaos else ""


def _write_tree(mutant: Mutant, directory: Path) -> int:
    if directory.exists():
        print(f"{directory} already exists; name a folder that does not", file=sys.stderr)
        return 2
    tree.copy(tree.ROOT, directory)
    tree.link_environment(directory)
    mutant.apply(directory)
    print(f"{directory} is the project without this guard: {mutant.guard}{_faults(mutant)}")
    return 0


async def _gate(mutants: Sequence[Mutant], scratch: Path) -> int:
    # Files in the tree may change meanwhile: all mutants use a copy made at this moment.
    original = scratch / "original"
    tree.copy(tree.ROOT, original)
    async with Engines(scratch / "engines").running() as engines:
        if not await _is_green(mutants, original, engines):
            return 2
        findings = []
        print(f"{'':9}{'mutant':36}{'runs':>4} {'seconds':>8}  caught by")
        for mutant in mutants:
            findings.append(await _try(mutant, original, engines))
            _print(findings[-1])
            _write_report(findings)
    survivors = [finding.name for finding in findings if finding.fate != "caught"]
    print(
        f"{len(findings) - len(survivors)} of {len(findings)} caught" + "".join(f"\n  not: {one}" for one in survivors)
    )
    return 1 if survivors else 0


async def _is_green(mutants: Sequence[Mutant], original: Path, engines: Engines) -> bool:
    """Whether all checks pass while every guard is there; otherwise a failing check would prove nothing."""
    checks = list(dict.fromkeys(check for mutant in mutants for check in mutant.checks))
    await engines.reset(frozenset())
    result = await asyncio.to_thread(
        run, original, engines.directory, checks, seconds_max=CHECK_SECONDS_MAX * len(checks)
    )
    if result.verdict is not Verdict.GREEN:
        print(f"checks fail with every guard in place: {result.check}\n  {result.reason}", file=sys.stderr)
        return False
    print(f"all green with every guard in place: {len(checks)} checks, {result.seconds:.0f} s")
    return True


async def _try(mutant: Mutant, original: Path, engines: Engines) -> Finding:
    """Up to three runs, until a check fails: a check that depends on a race may need more than one."""
    with tempfile.TemporaryDirectory(prefix=f"{mutant.name}-", dir=original.parent) as folder:
        copied = Path(folder) / "tree"
        tree.copy(original, copied)
        mutant.apply(copied)
        runs: list[Run] = []
        while len(runs) < RUNS_MAX and not any(one.verdict is Verdict.RED for one in runs):
            await engines.reset(mutant.migrated)
            runs.append(await asyncio.to_thread(run, copied, engines.directory, mutant.checks))
    last = runs[-1]
    fate = {Verdict.RED: "caught", Verdict.GREEN: "SURVIVED", Verdict.BROKEN: "BROKEN"}[last.verdict]
    seconds = round(sum(one.seconds for one in runs), 1)
    return Finding(mutant.name, mutant.guard, fate, last.check, last.reason, len(runs), seconds)


def _print(finding: Finding) -> None:
    shown = finding.check if finding.fate == "caught" else f"{finding.check} {finding.reason}"
    hang = " (by time limit)" if finding.reason.startswith("time limit") else ""
    print(f"{finding.fate:9}{finding.name:36}{finding.runs:4} {finding.seconds:8.1f}  {shown}{hang}", flush=True)


def _write_report(findings: Sequence[Finding]) -> None:
    files.make_folder(REPORT.parent)
    files.write_json(REPORT, [asdict(finding) for finding in findings])


if __name__ == "__main__":
    sys.exit(main())
