"""A mutant: one guard removed from a copy of the tree, and the checks that must fail."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class StalePatch(Exception):  # noqa: N818 - reads as what it is
    """The text that a mutant replaces does not occur exactly once in the tree."""


@dataclass(frozen=True, slots=True)
class Change:
    """In the file at `path`, replace `old` by `new`."""

    path: str
    old: str
    new: str

    def apply(self, root: Path) -> None:
        """Change the file below `root`.

        Raises:
            StalePatch: `old` does not occur, or occurs more than once.
        """
        file = root / self.path
        text = file.read_text()
        count = text.count(self.old)
        if count != 1:
            first_line = self.old.strip().partition("\n")[0]
            raise StalePatch(f"{self.path}: found {count} times instead of once: {first_line}")
        file.write_text(text.replace(self.old, self.new))


@dataclass(frozen=True, slots=True)
class Mutant:
    """The project without one guard.

    `works` is a check that must stay green: a mutant that cannot do its ordinary work would fail any check and so prove
    nothing. `caught_by` are the checks that must fail, cheapest first; one failure is enough. `faults` are those under which
    the running system shows the loss too; empty if only a test can see it.
    """

    name: str
    guard: str
    changes: Sequence[Change]
    works: str
    caught_by: Sequence[str]
    faults: Sequence[str] = ()

    @property
    def chaos(self) -> bool:
        """Whether fault runs of the whole system must catch it too."""
        return bool(self.faults)

    @property
    def checks(self) -> tuple[str, ...]:
        """The checks to run, in order."""
        return self.works, *self.caught_by

    @property
    def migrated(self) -> frozenset[str]:
        """The services whose database schema this changes."""
        found = (re.match(r"services/(\w+)/sql/migrations/", change.path) for change in self.changes)
        return frozenset(match[1] for match in found if match)

    def apply(self, root: Path) -> None:
        """Remove the guard from the tree at `root`. Raises as `Change.apply` does."""
        for change in self.changes:
            change.apply(root)
