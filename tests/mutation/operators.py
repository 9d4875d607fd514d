"""Mutants of a source file: one mistake each, of the kinds that people make in formulas.

A mutant is a change of one expression inside a function. Its function is compiled anew and put into the functions that
were imported already (``FunctionType.__code__``), so that a process that has imported everything once is mutated within
a millisecond. What runs at import alone (defaults, constants, registration) is therefore not mutated; neither is what
makes an error or its sentence, or a progress bar.
"""

from __future__ import annotations

import ast
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice, zip_longest
from types import CodeType
from typing import TypeAlias, TypeGuard

__all__ = ["Mutant", "codes", "mutants_of", "sample"]

Change: TypeAlias = tuple[str, ast.expr]
"""A kind of mistake, and what stands in the place of an expression."""

REDUCTIONS = frozenset(
    """sum mean std var prod logsumexp softmax log_softmax cumsum amax amin argmax argmin max min any all norm diff sort
    argsort cat stack unsqueeze squeeze flatten unflatten movedim median quantile""".split()  # noqa: SIM905  # words
)
SWAPS = {
    "sum": "mean",
    "mean": "sum",
    "logsumexp": "mean",
    "softmax": "log_softmax",
    "max": "min",
    "min": "max",
    "maximum": "minimum",
    "minimum": "maximum",
    "amax": "amin",
    "amin": "amax",
    "clamp_min": "clamp_max",
    "clamp_max": "clamp_min",
    "any": "all",
    "all": "any",
    "zeros_like": "ones_like",
    "ones_like": "zeros_like",
}
DROPPED = frozenset(
    "square exp log sqrt abs sigmoid reciprocal log1p expm1 cumsum diff tril triu float double".split()  # noqa: SIM905
)
COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}


@dataclass(frozen=True)
class Mutant:
    """One expression of a function changed; ``number`` tells apart equal changes of one function."""

    file: str
    function: str
    kind: str
    before: str
    after: str
    number: int
    lines: range
    code: Callable[[], CodeType | None]

    @property
    def name(self) -> str:
        """What it is called in the list of equivalent ones: it outlives changes elsewhere in the file."""
        again = f" (no. {self.number})" if self.number else ""
        return f"{self.file} {self.function}: {self.before} -> {self.after}{again}"

    def __str__(self) -> str:
        return f"{self.file}:{self.lines.start} [{self.kind}] {self.function}\n    - {self.before}\n    + {self.after}"


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Every mutant of a file's source, in the order of its lines."""
    tree = ast.parse(source)
    sound, seen, result = _shapes(compile(tree, file, "exec", dont_inherit=True)), Counter[tuple[str, ...]](), []
    differentiable = any(word in source for word in ("detach(", "autograd", "with_gradient_of"))
    for place in _places(tree):
        for kind, by in _changes(place, differentiable):
            before, after = ast.unparse(place.node), ast.unparse(by)
            key = place.function, before, after
            code = place.coder(tree, by, file, sound)
            result.append(Mutant(file, place.function, kind, before, after, seen[key], place.lines, code))
            seen[key] += 1
    return [mutant for mutant in result if mutant.before != mutant.after]


def sample(mutants: Sequence[Mutant], share: int) -> list[Mutant]:
    """``share`` of a file's mutants, the kinds in turn; which ones hangs on each one's name alone."""
    kinds: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in sorted(mutants, key=lambda m: hashlib.sha256(m.name.encode()).digest()):
        kinds[mutant.kind].append(mutant)
    turns = (mutant for turn in zip_longest(*kinds.values()) for mutant in turn if mutant is not None)
    return list(islice((mutant for mutant in turns if mutant.code() is not None), share))


def codes(code: CodeType) -> Iterator[CodeType]:
    """A module's code, and that of all functions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def _shapes(code: CodeType) -> list[tuple[str, int, tuple[str, ...]]]:
    """What must stay for one function's code to be put in another's place."""
    return [(each.co_qualname, each.co_firstlineno, each.co_freevars) for each in codes(code)]


@dataclass(frozen=True)
class _Place:
    """Where an expression stands: its parent's field, and the index where that is a list."""

    node: ast.expr
    parent: ast.AST
    field: str
    index: int | None
    function: str
    lines: range

    def put(self, by: ast.expr) -> None:
        if self.index is None:
            setattr(self.parent, self.field, by)
        else:
            getattr(self.parent, self.field)[self.index] = by

    def coder(self, tree: ast.Module, by: ast.expr, file: str, shapes: object) -> Callable[[], CodeType | None]:
        """The module's code with ``by`` in the place; None where a function then closes over other variables."""

        def code() -> CodeType | None:
            self.put(by)
            try:
                mutated = compile(ast.fix_missing_locations(tree), file, "exec", dont_inherit=True)
            finally:
                self.put(self.node)
            return mutated if _shapes(mutated) == shapes else None

        ast.copy_location(by, self.node)
        return code


def _places(tree: ast.Module) -> Iterator[_Place]:
    """The expressions of functions' bodies, less those of errors, strings and annotations."""

    def walk(node: ast.AST, function: str, names: str, lines: range) -> Iterator[_Place]:
        if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr) or _refuses(node) or _shows_progress(node):
            return
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list", "bases", "args", "type_params", "keywords") and (
                isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AnnAssign | ast.Lambda)
            ):
                continue
            for index, child in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(child, ast.AST):
                    continue
                own = _lines(child) if _stands_alone(child, node) else lines
                if isinstance(child, ast.expr) and function:
                    yield _Place(child, node, field, index if isinstance(value, list) else None, function, own)
                scope = isinstance(child, ast.FunctionDef | ast.ClassDef)
                inner = f"{names}.{child.name}".lstrip(".") if scope else names
                body = inner if isinstance(child, ast.FunctionDef) else "" if scope else function
                yield from walk(child, body, inner, own)

    yield from walk(tree, "", "", range(0))


def _stands_alone(node: ast.AST, parent: ast.AST) -> TypeGuard[ast.stmt | ast.expr]:
    """Whether it is a statement of its own, or in the head of one that holds others."""
    heads = isinstance(parent, ast.stmt) and hasattr(parent, "body")
    return isinstance(node, ast.stmt) or (isinstance(node, ast.expr) and heads)


def _lines(node: ast.stmt | ast.expr) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _refuses(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and not node.orelse and isinstance(node.body[-1], ast.Raise)


def _shows_progress(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_task"


def _changes(place: _Place, differentiable: bool) -> Iterator[Change]:
    node = place.node
    if isinstance(node, ast.BinOp) and not _is_text(node):
        yield from _arithmetic(node, differentiable)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not _is_whole(node.operand):
        yield "sign", node.operand
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED and not _is_text(node.comparators[0]):
        other = deepcopy(node)
        other.ops[0] = COMPARED[type(node.ops[0])]()
        yield "comparison", other
    elif isinstance(node, ast.BoolOp):
        yield "condition", ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.IfExp):
        yield "condition", ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool) and _is_choice(place.parent):
        yield "condition", ast.Constant(not node.value)
    if isinstance(place.parent, ast.If | ast.While) and place.field == "test" and not isinstance(node, ast.Compare):
        yield "condition", ast.UnaryOp(ast.Not(), node)


def _is_choice(parent: ast.AST) -> bool:
    """Whether a boolean there, given by its name, changes more than a shape or what is kept for a further gradient."""
    shapes = ("strict", "keepdim", "create_graph", "retain_graph")
    return isinstance(parent, ast.keyword) and parent.arg not in shapes


def _arithmetic(node: ast.BinOp, differentiable: bool) -> Iterator[Change]:
    left, op, right = node.left, node.op, node.right
    match op:
        case ast.Add():
            yield "sign", ast.BinOp(left, ast.Sub(), right)
            yield "term", left
            yield "term", right
        case ast.Sub() if isinstance(left, ast.Constant) and left.value == 1:
            yield "complement", right
        case ast.Sub():
            yield "sign", ast.BinOp(left, ast.Add(), right)
            yield "off by one" if _is_whole(right) else "term", left
        case ast.Mult():
            yield "factor", left
            yield "factor", right
        case ast.Div():
            yield "scale", left
        case ast.Pow():
            yield "factor", left
        case ast.FloorDiv():
            yield "scale", left
    if isinstance(op, ast.Mult | ast.Div) and (_is_number(left) or _is_number(right)):
        yield "factor", ast.BinOp(ast.Constant(2), ast.Mult(), node)
    if differentiable and isinstance(op, ast.Mult | ast.Add | ast.Sub):
        for side, operand in (("left", left), ("right", right)):
            if isinstance(operand, ast.Name | ast.Attribute):
                other = deepcopy(node)
                setattr(other, side, _detached(operand))
                yield "detach added", other


def _detached(operand: ast.expr) -> ast.expr:
    """The operand without its gradient; a number stays as it is."""
    test = ast.Call(ast.Name("hasattr", ast.Load()), [operand, ast.Constant("detach")], [])
    return ast.IfExp(test, ast.Call(ast.Attribute(operand, "detach", ast.Load()), [], []), operand)


def _calls(node: ast.Call) -> Iterator[Change]:
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    of_tensor = isinstance(function, ast.Attribute) and not _is_module(function.value)
    if name == "detach" and isinstance(function, ast.Attribute):
        yield "detach removed", function.value
    if name in DROPPED and isinstance(function, ast.Attribute):
        if of_tensor and not node.args and not node.keywords:
            yield "factor", function.value
        elif not of_tensor and len(node.args) == 1 and not node.keywords:
            yield "factor", node.args[0]
    if name in SWAPS and (of_tensor or node.args) and not (isinstance(function, ast.Name) and name in ("any", "all")):
        other = deepcopy(node)
        if isinstance(other.func, ast.Attribute):
            other.func.attr = SWAPS[name]
        elif name in ("max", "min"):
            other.func = ast.Name(SWAPS[name], ast.Load())
        else:
            return
        yield "reduction", other
    if name in REDUCTIONS:
        yield from _axes(node, of_tensor)
    if name in ("softplus", "logsigmoid", "sigmoid") and len(node.args) == 1:
        yield "sign", ast.Call(function, [ast.UnaryOp(ast.USub(), node.args[0])], node.keywords)
    if name in ("len", "range") and len(node.args) == 1 and isinstance(function, ast.Name):
        by_one = ast.Sub() if name == "len" else ast.Add()
        argument = node if name == "len" else node.args[0]
        moved = ast.BinOp(argument, by_one, ast.Constant(1))
        yield "off by one", moved if name == "len" else ast.Call(function, [moved], [])


def _axes(node: ast.Call, of_tensor: bool) -> Iterator[Change]:
    """The dim of a reduction changed: the first for the last, any other for the first."""
    places = [(node.args, i) for i in range(0 if of_tensor else 1, min(len(node.args), 2))]
    for arguments, i in places:
        if (dim := _whole(arguments[i])) is not None:
            other = deepcopy(node)
            other.args[i] = ast.Constant(-1 if dim == 0 else 0)
            yield "axis", other
            return
    for i, keyword in enumerate(node.keywords):
        if keyword.arg == "dim" and (dim := _whole(keyword.value)) is not None:
            other = deepcopy(node)
            other.keywords[i].value = ast.Constant(-1 if dim == 0 else 0)
            yield "axis", other


def _whole(node: ast.expr) -> int | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and _is_whole(node.operand):
        return -1
    return node.value if isinstance(node, ast.Constant) and type(node.value) is int else None


def _is_whole(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _is_text(node: ast.expr) -> bool:
    """Whether it is made of strings, lists, tuples, sets or dicts, where ``+`` joins."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.BitOr | ast.Mod | ast.MatMult) or _is_text(node.left) or _is_text(node.right)
    joined = ast.JoinedStr | ast.List | ast.ListComp | ast.Tuple | ast.Dict | ast.DictComp | ast.Set | ast.SetComp
    return isinstance(node, joined) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _is_module(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("torch", "math", "np", "F", "functional", "nn", "special")
