"""Numbers as pages and tables show them: thousands apart, with a true minus sign."""

from __future__ import annotations

__all__ = ["number", "short", "signed"]


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
