"""Docstrings as Markdown, for the reader of sources behind the reference."""

from __future__ import annotations

from typing import Any

import griffe

from docs.site.docstrings import as_markdown

__all__ = ["AsMarkdown"]


class AsMarkdown(griffe.Extension):
    """Rewrites every docstring before its sections are read."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """The object's own docstring, if it has one."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
