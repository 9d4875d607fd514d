"""A notebook that was run, as a page: its text, code and outputs in Markdown, and its pictures."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

__all__ = ["page"]

_HEAD = """\
<p class="notebook"><a href="{name}.ipynb" download>{name}.ipynb</a>: open it in Jupyter and run it yourself.</p>

"""


def page(executed: Path) -> dict[str, str | bytes]:
    """The page of a notebook with outputs and its pictures, by their places on the site."""
    name = executed.stem
    notebook = nbformat.read(executed, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    files = f"{name}_files"
    text, resources = MarkdownExporter().from_notebook_node(notebook, {"output_files_dir": files, "unique_key": name})
    title, _, rest = text.strip().partition("\n")
    pictures = {f"gallery/{place}": content for place, content in resources["outputs"].items()}
    return {f"gallery/{name}.md": f"{title}\n\n{_HEAD.format(name=name)}{rest}\n", **pictures}
