"""Links from the pages to the repository beside docs/: each file and folder that one leads to has a page of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["linked", "pages"]

_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)(?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")

_FOLDER = "repository"

_HEAD = "---\nsearch:\n  exclude: true\n---\n\n# {}\n\n"

_FENCE = "~~~~~~~~"


def linked(markdown: str, page: str, root: Path) -> str:
    """A page's text, whose links out of docs/ and to notebooks lead to their pages on the site.

    Args:
        markdown: the text.
        page: its place on the site, ``gallery/topics.md``.
        root: of the repository.
    """
    return _LINK.sub(lambda link: _lead(link, page, root), markdown)


def pages(root: Path) -> dict[str, str]:
    """The Markdown of everything beside docs/ that pages lead to, by its place on the site."""
    found: dict[str, str] = {}
    waiting = [target for page in sorted((root / "docs").glob("*.md")) for target in _targets(page, root)]
    while waiting:
        path = waiting.pop()
        place = _place(path, root)
        if place in found or path.is_relative_to(root / "docs"):
            continue
        found[place] = _text(path, root)
        waiting += _targets(path, root)
    return found


def _lead(link: re.Match[str], page: str, root: Path) -> str:
    target = Path(os.path.normpath(_source(page, root).parent / link["target"]))
    if not target.exists() or not target.is_relative_to(root):
        return link[0]
    place = os.path.relpath(_place(target, root), PurePosixPath(page).parent)
    return place + (link["anchor"] or "")


def _source(page: str, root: Path) -> Path:
    """The file or folder whose page stands at a place of the site."""
    if not page.startswith(f"{_FOLDER}/"):
        return root / "docs" / page
    path = root / page.removeprefix(f"{_FOLDER}/")
    return path if path.exists() else path.with_name(path.name.removesuffix(".md"))


def _place(path: Path, root: Path) -> str:
    """The place on the site of a picture, or of the page of a file or folder."""
    if path.is_relative_to(root / "docs"):
        place = path.relative_to(root / "docs").as_posix()
        return f"{place.removesuffix('.ipynb')}.md" if path.suffix == ".ipynb" else place
    inside = PurePosixPath(_FOLDER, path.relative_to(root).as_posix())
    if path.is_dir():
        return str(inside / "index.md")
    return str(inside) if path.suffix == ".md" else f"{inside}.md"


def _targets(path: Path, root: Path) -> Iterator[Path]:
    """What a page leads to: a Markdown file by its links, a folder by what is in it."""
    if path.is_dir():
        yield from _within(path)
    elif path.suffix == ".md":
        for link in _LINK.finditer(path.read_text(encoding="utf-8")):
            target = Path(os.path.normpath(path.parent / link["target"]))
            if target.exists() and target.is_relative_to(root):
                yield target


def _text(path: Path, root: Path) -> str:
    if path.is_dir():
        inside = (f"- [`{one.name}`]({one.name})\n" for one in _within(path))
        return _HEAD.format(path.relative_to(root)) + "".join(inside)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    language = "python" if path.suffix == ".py" else "text"
    return f"{_HEAD.format(path.relative_to(root))}{_FENCE}{language}\n{text}{_FENCE}\n"


def _within(folder: Path) -> list[Path]:
    """Folders and Python files, by name."""
    inside = (one for one in folder.iterdir() if one.is_dir() or one.suffix == ".py")
    return sorted(one for one in inside if one.name != "__pycache__")
