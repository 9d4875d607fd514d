"""Numbers as pages and tables show them: thousands apart, with a true minus sign."""

from __future__ import annotations

import math

__all__ = ["apart", "counted", "number", "plus_minus", "short", "signed"]

_LEAST = 1e-6
"""An error below it is rounding."""


def number(value: float, digits: int = 2) -> str:
    """A number with so many digits after the point.

    >>> number(-1234.567)
    '−1,234.57'
    """
    return f"{value:,.{digits}f}".replace("-", "−").replace("inf", "∞")


def short(value: float, digits: int = 3) -> str:
    """A number to so many digits, those before the point in full up to 100,000.

    >>> [short(x) for x in (0.0, -1.2345, 12345.6, 1e-5)]
    ['0', '−1.23', '12,346', '1.00e-05']
    """
    size = abs(value)
    if size == 0:
        return "0"
    written = "f" if 10**digits - 0.5 <= size < 1e5 else "g" if size >= 1e-3 else "e"
    text = f"{size:,.{ {'f': 0, 'g': digits, 'e': digits - 1}[written] }{written}}"
    return f"−{text}" if value < 0 else text


def signed(value: float) -> str:
    """A number to two digits, with its sign.

    >>> signed(0.256), signed(-120.0)
    ('+0.26', '−120')
    """
    return f"{'+' if value > 0 else ''}{short(value, 2)}"


def apart(value: float, other: float | None) -> str:
    """A number to as many digits, from two, as tell it from another one.

    >>> apart(0.667, 0.6), apart(1.013, 1.01), apart(0.5, None)
    ('0.67', '1.013', '0.5')
    """
    texts = (
        short(value, digits)
        for digits in range(2, 8)
        if other in (None, value) or short(value, digits) != short(other, digits)
    )
    return next(texts, short(value, 8))


def counted(count: int, one: str, many: str = "") -> str:
    """So many of them; ``many``: their plural, where it is not ``one`` with an s.

    >>> counted(1, "document"), counted(2000, "document"), counted(1, "datum", "data")
    ('1 document', '2,000 documents', '1 datum')
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def plus_minus(value: float, error: float) -> tuple[str, str]:
    """A value and its error, with as many digits after the point, from two, as show two of a small error's; one below a
    millionth is none.

    >>> plus_minus(-87.654, 0.1234), plus_minus(12.34567, 0.00123), plus_minus(4.158, 1e-9)
    (('−87.65', '0.12'), ('12.3457', '0.0012'), ('4.16', '0'))
    """
    digits = _digits_for(error)
    return number(value, digits), "0" if abs(error) < _LEAST else number(error, digits)


def _digits_for(error: float) -> int:
    """Digits after the point, from two, that show two of a small error's."""
    return 1 - math.floor(math.log10(error)) if _LEAST <= error < 0.01 else 2
