"""The reader of MATLAB's files.

Those of version 5 are read here: SciPy's compiled reader trusts the types and sizes in a file, and a damaged one ends
the process. SciPy reads version 4, in Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from zlib import decompressobj

import numpy as np
from numpy.typing import NDArray

from ppgen.data.formats import check_kind
from ppgen.data.reading import MOST_BYTES, check_size, reading
from ppgen.errors import UsageError

__all__ = ["read_mat"]

MATRIX, COMPRESSED = 14, 15
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""The types of elements that are numbers: those of a matrix may be stored in a smaller type than it has."""
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""The classes of matrices that are full and of numbers."""
COMPLEX = 0x800


def read_mat(path: Path, names: Sequence[str]) -> tuple[NDArray[Any], ...]:
    """The matrices ``names`` of a MATLAB file of version 4 or 5 (up to 7), compressed or not.

    Raises:
        UsageError: the file cannot be read, unpacks to too much, or a matrix is missing or none of real numbers.
    """
    from scipy.io.matlab import loadmat, matfile_version

    with reading(path, "a MATLAB .mat file"):
        raw = path.read_bytes()
        version, _ = matfile_version(BytesIO(raw))
        if version > 1:
            raise ValueError("it is of version 7.3: save it as version 7")
        content = dict(_matrices(raw, names)) if version == 1 else loadmat(BytesIO(raw), variable_names=list(names))
        missing = [name for name in names if name not in content]
        if missing:
            raise UsageError(f"{path} must hold the matrices {', '.join(names)}: {', '.join(missing)} missing.")
        return tuple(check_kind(path, name, content[name]) for name in names)


def _matrices(raw: bytes, names: Sequence[str]) -> Iterator[tuple[str, NDArray[Any]]]:
    """The name and the numbers of each matrix that is asked for: after 128 bytes, one element a matrix."""
    order = {b"IM": "<", b"MI": ">"}[raw[126:128]]
    unpacked = 0
    for kind, content in _elements(memoryview(raw)[128:], order):
        if kind == COMPRESSED:
            inflated = _inflated(content)
            unpacked += len(inflated)
            check_size(unpacked)
            ((kind, content),) = _elements(memoryview(inflated), order)
        if kind != MATRIX:
            raise ValueError(f"it holds an element of type {kind} in place of a matrix")
        (_, flags), (_, dimensions), (_, name), *numbers = _elements(content, order)
        if (text := bytes(name).decode("latin-1")) in names:
            yield text, _matrix(text, order, flags, dimensions, numbers)


def _matrix(name: str, order: str, flags: memoryview, dimensions: memoryview, numbers: list[Any]) -> NDArray[Any]:
    facts = int(np.frombuffer(flags, f"{order}u4")[0])
    kind, stored = CLASSES.get(facts & 0xFF), STORED.get(numbers[0][0]) if len(numbers) == 1 else None
    if kind is None or stored is None or facts & COMPLEX:
        raise ValueError(f"{name} is no full matrix of real numbers")
    shape = np.frombuffer(dimensions, f"{order}i4")
    if (shape < 0).any():
        raise ValueError(f"{name} has the shape {shape.tolist()}")
    values = np.frombuffer(numbers[0][1], order + stored).astype(kind)
    return values.reshape(shape.tolist(), order="F")


def _elements(raw: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """The type and the content of elements that follow one another.

    Each begins with its type and its size in four bytes each, or two where four bytes of content come at once; all but
    compressed ones end at a multiple of eight bytes.
    """
    place = 0
    while place < len(raw):
        kind, size = map(int, np.frombuffer(raw, f"{order}u4", 2, place))
        start = place + 8
        if kind >> 16:
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
        if start + size > len(raw):
            raise ValueError("it breaks off")
        yield kind, raw[start : start + size]
        place = start + size if kind == COMPRESSED else start + size + -(start + size) % 8


def _inflated(packed: memoryview) -> bytes:
    unpacker = decompressobj()
    content = unpacker.decompress(packed, MOST_BYTES + 1)
    check_size(len(content))
    if not unpacker.eof:
        raise ValueError("a compressed matrix breaks off")
    return content
