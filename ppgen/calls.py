"""Names with options as text: ``vimco(num_particles=5), reinforce(baseline=none)``, ``iaf(num=2)``.

Each is a name (of objectives: a registered one, or ``pyro.`` and a class of ``pyro.infer``) with the options that are
not to be the defaults in parentheses. A value is a Python literal, an objective written in the same way
(``bound=iwelbo(num_particles=5)``), a list of such values, and a string otherwise (``baseline=none``,
``temperature=linear(1, 0.1, 1000)``).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, TypeAlias

from ppgen.errors import UsageError, shown
from ppgen.registry import OBJECTIVES

__all__ = ["Call", "called", "parse_calls"]

Call: TypeAlias = tuple[str, Mapping[str, Any]]
"""A name and its options; a nested objective among these is a dict of ``name`` and ``options``."""


OBJECTIVES_WANTED = "objectives such as 'vimco(num_particles=5), reinforce'"


def parse_calls(text: str, wanted: str = OBJECTIVES_WANTED) -> tuple[Call, ...]:
    """The names of a list, with their options.

    Args:
        text: what was given.
        wanted: what a sentence says was expected.

    Raises:
        UsageError: it cannot be read.

    >>> parse_calls("vimco(num_particles=5), stl(bound=elbo)")
    (('vimco', {'num_particles': 5}), ('stl', {'bound': 'elbo'}))
    """
    try:
        tree = ast.parse(f"[{text.strip().rstrip(',')}]", mode="eval").body
        if isinstance(tree, ast.List):
            return tuple(_call(node, text, wanted) for node in tree.elts)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:  # the last two: it nests deeply
        if isinstance(error, UsageError):
            raise
        raise _unreadable(text, wanted) from error
    raise _unreadable(text, wanted)


def called(name: str, options: Mapping[str, Any]) -> str:
    """The text of an objective with its options.

    >>> called("vimco", {"num_particles": 5})
    'vimco(num_particles=5)'
    """
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in options.items())})"


def _call(node: ast.expr, text: str, wanted: str) -> Call:
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    named = isinstance(call.func, ast.Name | ast.Attribute)
    if not named or call.args or any(keyword.arg is None for keyword in call.keywords):
        raise _unreadable(text, wanted)
    return ast.unparse(call.func), {str(k.arg): _value(k.value, text, wanted) for k in call.keywords}


def _value(node: ast.expr, text: str, wanted: str) -> Any:
    if isinstance(node, ast.Call) and ast.unparse(node.func) in OBJECTIVES:
        name, options = _call(node, text, wanted)
        return {"name": name, "options": options}
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(element, text, wanted) for element in node.elts]
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def _unreadable(text: str, wanted: str) -> UsageError:
    return UsageError(
        f"expected {wanted}, got {shown(text)}: names with commas between, options as key=value in parentheses."
    )
