"""Check the subjects of commits that the base branch does not have yet.

`make lint` runs it on `BASE..HEAD`, where BASE is `origin/main` unless the variable names another commit. As the hook
`commit-msg` it gets the file with the message instead.

A subject has at most 72 characters and begins with a verb in the imperative: "Reject requests larger than 64 KiB". Whether
a word is a verb cannot be looked up, so the check looks for what is certainly none: a lower-case or composed first word
("wallet: …", "README, …"), the endings of other forms ("Added", "Adding", "Adds"), and a few words that are often put first. A
verb that happens to look like one of them is added to `VERBS`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEFAULT_BASE = "origin/main"
LENGTH_MAX = 72
VERBS = frozenset(
    {
        *("Bring", "Ping", "Ring", "String"),
        *("Embed", "Feed", "Need", "Seed", "Shed", "Speed"),
        *(
            "Access",
            "Address",
            "Assess",
            "Bypass",
            "Compress",
            "Cross",
            "Discuss",
            "Dismiss",
            "Express",
            "Focus",
            "Guess",
        ),
        *("Miss", "Pass", "Press", "Process", "Suppress"),
    }
)
"""Verbs in the imperative that end like another form."""

NO_VERBS = frozenset(
    {
        *(
            "A",
            "An",
            "The",
            "This",
            "That",
            "These",
            "Those",
            "Some",
            "Any",
            "All",
            "Each",
            "Every",
            "No",
            "Not",
            "Both",
        ),
        *(
            "I",
            "We",
            "You",
            "It",
            "What",
            "When",
            "Where",
            "Which",
            "Who",
            "Why",
            "How",
            "If",
            "One",
            "Two",
            "More",
            "Less",
        ),
        *(
            "And",
            "But",
            "For",
            "From",
            "In",
            "On",
            "To",
            "With",
            "Also",
            "Now",
            "New",
            "Better",
            "Initial",
            "Minor",
            "Some",
        ),
        *("Bugfix", "Code", "Cleanup", "Wip"),
    }
)
"""Words that are often put first and are no verbs."""


class NotChecked(Exception):  # noqa: N818 - no fault of the commits
    """The commits cannot be listed; the text says why."""


def fault(subject: str) -> str | None:
    """What is wrong with a subject; None if nothing is."""
    first = subject.partition(" ")[0]
    if len(subject) > LENGTH_MAX:
        return f"{len(subject)} characters, at most {LENGTH_MAX}"
    if re.fullmatch(r"[A-Z][a-z]+(-[a-z]+)?", first) is None:
        return f"{first!r} is no verb that begins with a capital letter; no prefix such as 'wallet:'"
    if first in NO_VERBS or (first not in VERBS and re.search(r"(ed|ing|s)$", first)):
        return f"{first!r} is no verb in the imperative (or add it to VERBS in {Path(__file__).name})"
    return None


def list_subjects(repository: Path, base: str) -> list[tuple[str, str]]:
    """Short ids and subjects of the commits that `base` does not have, without merges.

    Raises:
        NotChecked: there is no git, no repository, no such base, or nothing in common with it.
    """
    top = _git(repository, "rev-parse", "--show-toplevel")
    if Path(top).resolve() != repository.resolve():
        raise NotChecked("this folder is no git repository")
    _git(
        repository, "rev-parse", "--verify", "--quiet", f"{base}^{{commit}}", otherwise=f"there is no {base}; set BASE="
    )
    _git(repository, "merge-base", base, "HEAD", otherwise=f"HEAD and {base} have no commit in common here")
    listed = _git(repository, "log", "--no-merges", "--format=%h %s", f"{base}..HEAD")
    return [(name, subject) for name, _, subject in (line.partition(" ") for line in listed.splitlines())]


def _git(repository: Path, *arguments: str, otherwise: str = "") -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=repository, capture_output=True, text=True, check=False)
    except OSError:
        raise NotChecked("git is not installed") from None
    if done.returncode != 0:
        errors = done.stderr.strip().splitlines()[:1]
        raise NotChecked(otherwise or (errors[0] if errors else f"git exited with {done.returncode}"))
    return done.stdout.strip()


def check_commits(repository: Path, base: str | None) -> int:
    """Check all new commits; the exit code."""
    try:
        subjects = list_subjects(repository, base or DEFAULT_BASE)
    except NotChecked as error:
        print(f"commit subjects: not checked, {error}")
        return 1 if base else 0
    faults = [f"{name} {subject}\n    {text}" for name, subject in subjects if (text := fault(subject))]
    print("\n".join(faults) if faults else f"commit subjects: {len(subjects)} checked")
    return 1 if faults else 0


def check_message(file: Path) -> int:
    """Check the message that is about to be committed; the exit code."""
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    text = fault(lines[0]) if lines and not lines[0].startswith("Merge ") else None
    if text:
        print(text)
    return 1 if text else 0


if __name__ == "__main__":
    sys.exit(check_message(Path(sys.argv[1])) if sys.argv[1:] else check_commits(ROOT, os.environ.get("BASE")))
