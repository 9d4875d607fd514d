"""The site is whole: every page stands in its navigation, every public name in its reference, every link leads on."""

import importlib
import os
import re
from pathlib import Path, PurePosixPath
from types import ModuleType

import pytest

from docs.site import reference, repository
from docs.site.docstrings import as_markdown
from ppgen.tables import LEVELS
from tests.gallery import NOTEBOOKS, cells

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
NAVIGATION = set(re.findall(r"^ +- [^:\n]+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
ROOMS = ["ppgen", *(f"ppgen.{room}" for level in LEVELS for room in level if not room.startswith("_"))]
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)#([^)\s]+)\)")


def guides() -> dict[str, str]:
    """The text of every page that is written, by its place on the site."""
    written = {page.name: page.read_text(encoding="utf-8") for page in DOCS.glob("*.md")}
    told = {f"gallery/{one.stem}.md": "\n\n".join(cell["text"] for cell in cells(one, "markdown")) for one in NOTEBOOKS}
    return written | told


def site() -> dict[str, str]:
    """The text of every page of the site, but for the commands."""
    made = {f"reference/{place}": text for place, text in reference.pages().items()}
    return guides() | made | repository.pages(ROOT) | {"reference/commands.md": ""}


def anchors(text: str) -> set[str]:
    """What the headings of a page are called in links."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def test_every_page_is_in_the_navigation() -> None:
    assert set(site()) >= NAVIGATION
    assert set(guides()) <= NAVIGATION, "mkdocs.yml: nav needs a line for each of these pages"


def test_every_public_name_is_in_the_reference() -> None:
    entries = re.findall(
        r"^::: (\S+)\n    options:\n      members: \[(.*)\]$", "\n".join(reference.pages().values()), re.MULTILINE
    )
    described = {f"{module}.{name}" for module, names in entries for name in names.split(", ")}
    homes = (home.rpartition(".") for home in reference.homes())
    known = [id(getattr(importlib.import_module(module), name)) for module, _, name in homes]
    public = {f"{room}.{name}": getattr(module, name) for room, module in _modules() for name in module.__all__}
    missing = [name for name, one in public.items() if not isinstance(one, ModuleType) and id(one) not in known]
    assert not missing
    assert set(reference.homes()) <= described


def _modules() -> list[tuple[str, ModuleType]]:
    rooms = [(room, importlib.import_module(room)) for room in ROOMS]
    return [(room, module) for room, module in rooms if hasattr(module, "__all__")]


def test_links_lead_to_pages_of_the_site() -> None:
    pages = site()
    for place, text in pages.items():
        for target in re.findall(r"\]\((?!\w+:|#)([^)#\s]+\.md)", repository.linked(text, place, ROOT)):
            assert os.path.normpath(PurePosixPath(place).parent / target) in pages, f"{place} leads to {target}"


def test_links_to_headings_lead_to_one() -> None:
    pages = guides()
    for place, text in pages.items():
        for target, anchor in LINK.findall(text):
            there = os.path.normpath(PurePosixPath(place).parent / target) if target else place
            assert anchor in anchors(pages[there]), f"{place}: {target}#{anchor}"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("See :func:`ppgen.fit`::", "See [`fit`][ppgen.runs.fit.fit]:"),
        ("as :meth:`keep` does", "as `keep` does"),
        (">>> 1 + 1\n2", "```pycon\n>>> 1 + 1\n2\n```"),
        ("Sites:\n    z: (latent,), real\n", "**Sites**\n\n- `z`: (latent,), real\n"),
    ],
)
def test_a_docstring_becomes_markdown(written: str, shown: str) -> None:
    assert as_markdown(written) == shown
