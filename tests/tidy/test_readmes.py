"""The README of each service says what its code says."""

from __future__ import annotations

import pytest

from deploy import facts
from tests.harness import write_readmes, write_settings


@pytest.mark.parametrize("name", write_readmes.PAGES)
def test_the_readme_is_what_the_code_says(name: str) -> None:
    """Roles, endpoints, environment variables and modules; `make readmes` writes the tables again."""
    assert write_readmes.page(name) == write_readmes.document(name).read_text()


def test_every_service_has_a_readme() -> None:
    """And no other folder of services has none."""
    folders = {path.name for path in write_readmes.SERVICES.iterdir() if (path / "__init__.py").exists()}

    assert folders == set(write_readmes.PAGES)


def test_settings_are_documented_as_they_are_declared() -> None:
    """The tables of docs/operations/settings.md; `make readmes` writes them again."""
    assert write_settings.page() == write_settings.DOCUMENT.read_text()


def test_every_variable_has_a_meaning() -> None:
    """A field of a settings class has a docstring of at most 200 characters, one sentence or more."""
    meanings = {
        f"{process.name} {variable.name}": variable.meaning
        for process in facts.PROCESSES.values()
        for variable in process.variables.values()
    }

    assert [] == [name for name, meaning in meanings.items() if not 0 < len(meaning) <= 200 or meaning[-1] != "."]
