"""What MkDocs is told of this repository: pages that are made and not written, links out of docs/, mathematics.

Beside the guides in docs/ the site has the reference (:mod:`docs.site.reference`), the commands
(:mod:`docs.site.commands`), the notebooks with their outputs (:mod:`docs.site.notebooks`), and, below ``repository/``,
whatever else of the repository a page leads to (:mod:`docs.site.repository`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

from docs.site import commands, mathematics, notebooks, reference, repository

_ROOT = Path(__file__).resolve().parents[2]


def on_config(config: Any) -> Any:
    """The rooms of the reference follow its index."""
    entries = next(entries for part in config.nav for title, entries in part.items() if title == "Reference")
    entries += [
        {f"ppgen.{place.removesuffix('.md')}": f"reference/{place}"}
        for place in reference.pages()
        if place != "index.md"
    ]
    return config


def on_files(files: Any, config: Any) -> Any:
    """The pages that are made."""
    made: dict[str, str | bytes] = {f"reference/{place}": text for place, text in reference.pages().items()}
    made |= {"reference/commands.md": commands.page()}
    for name in sorted(path.stem for path in (_ROOT / "docs" / "gallery").glob("*.ipynb")):
        made |= notebooks.page(_ROOT / "build" / "gallery" / f"{name}.ipynb")
    made |= repository.pages(_ROOT)
    for place, content in made.items():
        files.append(File.generated(config, place, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links lead to the pages of what they name in the repository."""
    return repository.linked(markdown, page.file.src_uri, _ROOT)


def on_page_content(content: str, **_: Any) -> str:
    """Mathematics is drawn by the browser itself."""
    return mathematics.drawn(content)
