"""Pages name what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tidy.retired_words import LEFT_OUT

ROOT = Path(__file__).parents[2]
PAGES = sorted(name for path in ROOT.rglob("*.md") if not LEFT_OUT.search(name := path.relative_to(ROOT).as_posix()))


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    """A link to a file of the repository names one that is there, and a heading that it has."""
    text = (ROOT / name).read_text()

    assert [] == [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not _leads_somewhere(ROOT / name, link)]


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, heading = link.partition("#")
    if re.match(r"[a-z]+:", link):
        return True
    target = page.parent / path if path else page
    return target.exists() and (not heading or heading in _headings(target))


def _headings(page: Path) -> set[str]:
    """The anchors of a page, made as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_folder_of_tests_is_described_once() -> None:
    """CONTRIBUTING.md says what each holds."""
    described = re.findall(r"^\| `tests/(\w+)/` \|", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}

    assert sorted(described) == sorted(folders)


def test_every_target_has_a_help_text() -> None:
    """`make` without arguments lists all targets."""
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.+)$", makefile, flags=re.MULTILINE)[0].split())
    helped = set(re.findall(r"^([a-z0-9-]+):.*  ## \S", makefile, flags=re.MULTILINE))

    assert phony == helped
