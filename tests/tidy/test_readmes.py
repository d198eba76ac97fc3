"""The README of each service says what its code says."""

from __future__ import annotations

import re

import pytest

from tests.harness import write_readmes


@pytest.mark.parametrize("name", write_readmes.PAGES)
def test_the_readme_is_what_the_code_says(name: str) -> None:
    """Roles, endpoints, environment variables and modules; `make readmes` writes the tables again."""
    assert write_readmes.page(name) == write_readmes.document(name).read_text()


def test_every_service_has_a_readme() -> None:
    """And no other folder of services has none."""
    folders = {path.name for path in write_readmes.SERVICES.iterdir() if (path / "__init__.py").exists()}

    assert folders == set(write_readmes.PAGES)


@pytest.mark.parametrize("name", write_readmes.NAMES)
def test_every_variable_is_explained(name: str) -> None:
    """docs/operations/settings.md says what each variable means."""
    explained = (write_readmes.SERVICES.parent / "docs" / "operations" / "settings.md").read_text()
    variables = re.findall(r"^\| `PAYFLOW_(\w+)`", write_readmes.document(name).read_text(), flags=re.MULTILINE)

    assert variables
    assert [] == [
        variable for variable in variables if variable not in explained and not variable.endswith("_OWNER_DATABASE_URL")
    ]
