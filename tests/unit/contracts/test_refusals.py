"""The refusals that services and gateway share."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path

from services.contracts.refusal import OutcomeUnknown, Refusal

SERVICES = Path(__file__).parents[3] / "services"


def _declared(parent: type[Refusal]) -> set[type[Refusal]]:
    """The classes that state a code of their own; a subclass without one is a case of its parent."""
    children = {child for each in parent.__subclasses__() for child in _declared(each)}
    return children | ({parent} if "code" in vars(parent) else set())


def test_each_code_is_defined_once() -> None:
    """A code with a status is stated by one class: the service raises it, and the gateway lists the same class."""
    for path in sorted(SERVICES.rglob("*.py")):
        if "class " in (text := path.read_text()) and "(Refusal)" in text and "alembic" not in path.parts:
            importlib.import_module(".".join(path.relative_to(SERVICES.parent).with_suffix("").parts))
    counts = Counter((refusal.code, refusal.status) for refusal in _declared(Refusal))

    assert counts["email_taken", 409] == 1
    # `database.CommitUnknown` has two parents and takes its code from one of them.
    assert [stated for stated, count in counts.items() if count > 1] == [(OutcomeUnknown.code, OutcomeUnknown.status)]
