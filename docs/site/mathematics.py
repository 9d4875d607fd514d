"""Mathematics as MathML, which browsers draw by themselves: no script, no font from elsewhere."""

from __future__ import annotations

import html
import re
import unicodedata

from latex2mathml.converter import convert

__all__ = ["drawn"]

_WRITTEN = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
_LETTER = re.compile(r'<mi mathvariant="(script|double-struck)">([A-Z])</mi>')


def drawn(page: str) -> str:
    """The HTML of a page, what is LaTeX in it as MathML."""
    return _WRITTEN.sub(_mathml, page)


def _mathml(written: re.Match[str]) -> str:
    display = "block" if written[1] == "div" else "inline"
    mathml: str = convert(html.unescape(written[2]), display=display)
    return _LETTER.sub(_letter, mathml).replace("<mi>&#x0007E;</mi>", "<mo>∼</mo>")  # \sim, which is a relation


def _letter(found: re.Match[str]) -> str:
    """Browsers know no other variant than normal: the letter is a character of its own."""
    name = f"{found[1].upper()} CAPITAL {found[2]}"
    try:
        letter = unicodedata.lookup(f"MATHEMATICAL {name}")
    except KeyError:  # those that Unicode had before: ℰ, ℕ
        letter = unicodedata.lookup(name)
    return f"<mi>{letter}</mi>"
