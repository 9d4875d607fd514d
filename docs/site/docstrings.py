"""Docstrings of this project as Markdown: roles become links, doctests and lists of sites become what they are."""

from __future__ import annotations

import re

from docs.site.reference import home_of

__all__ = ["as_markdown"]

_ROLE = re.compile(r":\w+:`~?([\w.]+)(?:\(\))?`")
_DOCTEST = re.compile(r"^>>> .*(?:\n.*\S.*)*", re.MULTILINE)
_SITES = re.compile(r"^Sites:\n((?: {4}.*(?:\n|\Z))+)", re.MULTILINE)
_SITE = re.compile(r"^ {4}(\S[^:]*): ", re.MULTILINE)


def as_markdown(text: str) -> str:
    """A docstring's text."""
    text = _ROLE.sub(lambda role: _link(role[1]), text)
    text = _SITES.sub(lambda block: "**Sites**\n\n" + _SITE.sub(r"- `\1`: ", block[1]), text)
    text = _DOCTEST.sub(lambda block: f"```pycon\n{block[0]}\n```", text)
    return re.sub(r"::$", ":", text, flags=re.MULTILINE)


def _link(name: str) -> str:
    home = home_of(name)
    return f"`{name}`" if home is None else f"[`{name.rpartition('.')[2]}`][{home}]"
