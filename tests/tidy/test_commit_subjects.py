"""The check of commit subjects, on real repositories."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.tidy import commit_subjects
from tests.tidy.commit_subjects import check_commits, check_message, fault

IDENTITY = {
    **{
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "T"), ("EMAIL", "t@t"))
    },
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


@pytest.fixture(autouse=True)
def own_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


def commit(folder: Path, subject: str) -> None:
    git(folder, "commit", "--allow-empty", "--message", subject)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository with two commits on `main`, the first with a bad subject."""
    folder = tmp_path / "origin"
    folder.mkdir()
    git(folder, "init", "--initial-branch=main")
    commit(folder, "wallet: an old commit")
    commit(folder, "Add a file")
    return folder


def clone(origin: Path, *arguments: str) -> Path:
    folder = origin.parent / "clone"
    git(origin.parent, "clone", *arguments, origin.as_uri(), str(folder))
    return folder


@pytest.mark.parametrize(
    "subject",
    [
        "Reject requests larger than 64 KiB",
        "Answer /events within 1.5 s when no position is known",
        "Pass the deadline on to the wallet",
        "Feed the index",
        "Re-read the cache",
        'Revert "Add a file"',
        "x".upper() + "y" * 71,
    ],
)
def test_plain_subjects_pass(subject: str) -> None:
    """A verb in the imperative and at most 72 characters; verbs that end like other forms are known."""
    assert fault(subject) is None


@pytest.mark.parametrize(
    "subject",
    [
        "wallet: refuse a zero amount",
        "README, ARCHITECTURE: new names",
        "make lint faster",
        "Added a file",
        "Adding a file",
        "Adds a file",
        "The relay waits for confirms",
        "fixup! Add a file",
        "X" + "y" * 72,
        "",
    ],
)
def test_other_subjects_are_refused(subject: str) -> None:
    """A prefix, another form of the verb, no verb, or too long."""
    assert fault(subject) is not None


def test_only_new_commits_are_checked(origin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a fresh clone there is none; what is committed on top is checked, and what the base has is not."""
    folder = clone(origin)
    assert check_commits(folder, None) == 0

    commit(folder, "Remove a file")
    assert check_commits(folder, None) == 0

    commit(folder, "Removed another file")
    assert check_commits(folder, None) == 1
    assert "Removed another file" in capsys.readouterr().out


def test_another_base_can_be_named(origin: Path) -> None:
    """`BASE` replaces origin/main. One that does not exist fails: it was named on purpose."""
    assert check_commits(origin, "HEAD~1") == 0
    commit(origin, "wallet: a new commit")

    assert check_commits(origin, "HEAD~1") == 1
    assert check_commits(origin, "nonexistent") == 1


def test_merges_are_not_checked(origin: Path) -> None:
    """Git writes their subjects."""
    folder = clone(origin)
    git(folder, "checkout", "-b", "side", "HEAD~1")
    commit(folder, "Add a side")
    git(folder, "checkout", "main")
    git(folder, "merge", "side")

    assert check_commits(folder, None) == 0


@pytest.mark.parametrize("arguments", [["--depth=1"], ["--depth=1", "--branch=topic"]], ids=["main", "another branch"])
def test_a_shallow_clone_passes(origin: Path, arguments: list[str]) -> None:
    """A clone without history has nothing to check, or nothing to compare with: its only commit is not taken for new."""
    git(origin, "checkout", "-b", "topic")
    commit(origin, "topic: a commit")
    git(origin, "checkout", "main")

    assert check_commits(clone(origin, *arguments), None) == 0


def test_without_origin_it_is_not_checked(origin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says so, and what to set."""
    assert check_commits(origin, None) == 0
    assert capsys.readouterr().out == "commit subjects: not checked, there is no origin/main; set BASE=\n"


def test_without_a_repository_it_is_not_checked(
    tmp_path: Path, origin: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unpacked archive, also one inside another repository, and a machine without git."""
    (origin / "unpacked").mkdir()
    assert check_commits(tmp_path, None) == 0
    assert check_commits(origin / "unpacked", None) == 0

    monkeypatch.setenv("PATH", str(tmp_path))
    assert check_commits(origin, None) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("commit subjects: not checked, ") for line in lines)


def test_the_message_of_a_commit_is_checked(tmp_path: Path) -> None:
    """As the hook does before a commit: comments do not count, merges pass."""
    message = tmp_path / "COMMIT_EDITMSG"
    for text, code in [
        ("Add a file\n\nwallet: details\n", 0),
        ("# comment\nAdded a file\n", 1),
        ("Merge branch 'side'\n", 0),
        ("# nothing\n", 0),
    ]:
        message.write_text(text)
        assert check_message(message) == code


def test_the_lists_have_no_word_in_common() -> None:
    """A word is a verb or it is not."""
    assert not commit_subjects.VERBS & commit_subjects.NO_VERBS
