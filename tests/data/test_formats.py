"""Readers of file formats: small files of each kind, whole and broken."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from scipy import sparse
from scipy.io import savemat

from ppgen.data.formats import (
    check_numbers,
    check_rows,
    read_amat,
    read_arrays,
    read_csv,
    read_idx,
    read_npz,
    unpack_bits,
    upright,
)
from ppgen.data.matlab import read_mat
from ppgen.errors import UsageError

PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
BITS = (np.arange(20).reshape(2, 10) % 3 == 0).astype(np.uint8)
IDX = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]) + PIXELS.tobytes()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def amat(bits: Any, end: str = "\n") -> bytes:
    return "".join(" ".join(map(str, row)) + end for row in bits).encode()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_idx_is_read(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    assert np.array_equal(read_idx(write(tmp_path / "x", pack(IDX))), PIXELS)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        IDX[:-1],
        IDX + b"\0",
        IDX[:7],
        b"\0\0\x0d" + IDX[3:],
        b"<!DOCTYPE html>",
        gzip.compress(IDX)[:-9],
        gzip.compress(IDX)[:20] + b"\xff" * 20,
    ],
    ids=["empty", "short", "long", "header", "floats", "page", "truncated gzip", "damaged gzip"],
)
def test_a_broken_idx_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "train-images", content)
    with pytest.raises(UsageError, match=r"train-images must be an IDX file.*fetch it again"):
        read_idx(path)


@pytest.mark.parametrize("end", ["\n", " \n", "\r\n"], ids=repr)
def test_amat_is_read(tmp_path: Path, end: str) -> None:
    assert np.array_equal(read_amat(write(tmp_path / "x.amat", amat(BITS, end)), 10), BITS)


@pytest.mark.parametrize(
    "content",
    [b"", amat(BITS)[:-4], amat(BITS + 1), b"0.0 1.0\n", b"404 Not Found"],
    ids=["empty", "truncated", "not binary", "decimals", "page"],
)
def test_a_broken_amat_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "x.amat", content)
    with pytest.raises(UsageError, match=r"x\.amat must be a text file of 0 and 1, 10 a line"):
        read_amat(path, 10)


def test_npz_is_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", a=PIXELS, b=BITS)
    b, a = read_npz(tmp_path / "x.npz", ["b", "a"])
    assert np.array_equal(a, PIXELS)
    assert np.array_equal(b, BITS)


def test_npz_names_a_missing_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=PIXELS)
    with pytest.raises(UsageError, match=r"x\.npz must hold the arrays a, c: c missing, it has a"):
        read_npz(tmp_path / "x.npz", ["a", "c"])


def test_npz_is_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(UsageError, match="Object arrays cannot be loaded"):
        read_npz(tmp_path / "x.npz", ["a"])


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["npz", "mat"])
def test_a_truncated_archive_is_refused_by_name(tmp_path: Path, kind: str, keep: float) -> None:
    path = tmp_path / f"x.{kind}"
    noise = np.random.RandomState(0).bytes(5000)
    content: dict[str, Any] = {"a": np.frombuffer(noise, np.uint8)}
    np.savez(path, **content) if kind == "npz" else savemat(path, content)
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    read = read_npz if kind == "npz" else read_mat
    with pytest.raises(UsageError, match=rf"x\.{kind} must be a .* fetch it again"):
        read(path, ["a"])


@pytest.mark.parametrize("kind", ["npz", "mat"])
def test_a_flipped_byte_is_noticed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    content: dict[str, Any] = {"a": np.zeros(5000, np.uint8)}
    np.savez_compressed(path, **content) if kind == "npz" else savemat(path, content, do_compression=True)
    raw = bytearray(path.read_bytes())
    raw[len(raw) - 20 if kind == "mat" else 70] ^= 0xFF
    path.write_bytes(raw)
    read = read_npz if kind == "npz" else read_mat
    with pytest.raises(UsageError, match=rf"x\.{kind} must be a "):
        read(path, ["a"])


def test_mat_is_read_and_names_a_missing_matrix(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"a": BITS})
    assert np.array_equal(read_mat(tmp_path / "x.mat", ["a"])[0], BITS)
    with pytest.raises(UsageError, match=r"x\.mat must hold the matrices a, b: b missing"):
        read_mat(tmp_path / "x.mat", ["a", "b"])


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.npz .*FileNotFoundError"):
        read_npz(tmp_path / "gone.npz", ["a"])


def test_bits_unpack_to_what_was_packed() -> None:
    assert np.array_equal(unpack_bits(Path("x"), np.packbits(BITS, axis=1), 10), BITS)


@pytest.mark.parametrize("packed", [np.zeros((2, 3), np.uint8), np.zeros((2, 2)), np.zeros(2, np.uint8)])
def test_bits_of_another_width_or_type_are_refused(packed: Any) -> None:
    with pytest.raises(UsageError, match=r"bits packed in bytes of shape \(N, 2\)"):
        unpack_bits(Path("x"), packed, 10)


def test_rows_are_checked() -> None:
    assert check_rows(Path("x"), BITS, (2, 10)) is BITS
    with pytest.raises(UsageError, match=r"x must hold an array of shape \(3, 10\), got \(2, 10\)"):
        check_rows(Path("x"), BITS, (3, 10))


def test_upright_undoes_column_major_order() -> None:
    pictures = np.random.RandomState(0).rand(3, 28, 28)
    matlab = np.stack([picture.flatten(order="F") for picture in pictures])
    assert np.array_equal(upright(matlab).reshape(3, 28, 28), pictures)


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files may unpack to a thousand bytes."""
    for module in ("reading", "matlab"):
        monkeypatch.setattr(f"ppgen.data.{module}.MOST_BYTES", 1000)


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("kind", ["npz", "mat", "idx"])
def test_what_unpacks_to_too_much_is_refused(tmp_path: Path, kind: str) -> None:
    path, zeros = tmp_path / "x", np.zeros(10**6, np.uint8)
    if kind == "npz":
        with path.open("wb") as file:
            np.savez_compressed(file, a=zeros)
    elif kind == "mat":
        with path.open("wb") as file:
            savemat(file, {"a": zeros}, do_compression=True)
    else:
        path.write_bytes(gzip.compress(b"\0\0\x08\1\0\x0f\x42\x40" + zeros.tobytes()))
    assert path.stat().st_size < 3000
    read: dict[str, Callable[[], object]] = {
        "npz": lambda: read_npz(path, ["a"]),
        "mat": lambda: read_mat(path, ["a"]),
        "idx": lambda: read_idx(path),
    }
    with pytest.raises(UsageError, match=r"x must be a.* it unpacks to .* or more, and no file may"):
        read[kind]()


@pytest.mark.usefixtures("little")
def test_an_idx_that_goes_on_is_unpacked_no_further_than_its_header_says(tmp_path: Path) -> None:
    path = write(tmp_path / "x", gzip.compress(IDX + bytes(10**6)))
    with pytest.raises(UsageError, match=r"its header says \(2, 3, 4\), but more follow"):
        read_idx(path)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
def test_mat_is_read_in_both_orders_of_bytes(tmp_path: Path, order: str, packed: bool) -> None:
    savemat(tmp_path / "x.mat", {"a": PIXELS.astype(f"{order}f8"), "b": BITS}, do_compression=packed)
    a, b = read_mat(tmp_path / "x.mat", ["a", "b"])
    assert np.array_equal(a, PIXELS)
    assert np.array_equal(b, BITS)


def test_mat_4_is_read(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"a": BITS}, format="4")
    assert np.array_equal(read_mat(tmp_path / "x.mat", ["a"])[0], BITS)


@pytest.mark.parametrize(
    "array", [np.array(["text"]), np.array(["2020-01-01"], "M8[D]"), np.array([(1,)], "i4,")], ids=str
)
def test_arrays_of_no_numbers_are_refused(tmp_path: Path, array: Any) -> None:
    np.savez(tmp_path / "x.npz", a=array)
    for read in (lambda path: read_npz(path, ["a"]), read_arrays):
        with pytest.raises(UsageError, match=r"x\.npz must hold arrays of numbers, and 'a' is of "):
            read(tmp_path / "x.npz")


def test_a_file_in_an_archive_that_is_no_array_is_refused(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(UsageError, match=r"'readme\.txt' is of bytes"):
        read_arrays(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a,b\n1,2,3\n", "its first line names 2 columns, and other lines have more"),
        ("1,2\n3,4,5\n", "Expected 2 fields in line 2, saw 3"),
        ("", "No columns to parse"),
    ],
)
def test_a_table_whose_lines_differ_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=f"must be a text file of columns separated by commas.*{sentence}"):
        read_csv(write(tmp_path / "x.csv", content.encode()))


def test_a_byte_order_mark_is_no_part_of_a_table(tmp_path: Path) -> None:
    table = read_csv(write(tmp_path / "x.csv", b"\xef\xbb\xbf1,2\n3,4\n"))
    assert table.to_numpy().tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("value", [-1, 11, 2.5, float("nan"), float("inf")])
def test_numbers_are_checked(value: float) -> None:
    assert check_numbers(Path("x"), PIXELS, 23) is PIXELS
    assert check_numbers(Path("x"), PIXELS / 30, 1, whole=False).max() < 1
    with pytest.raises(UsageError, match=f"x must hold whole numbers from 0 to 10, got {value:g}: fetch it again"):
        check_numbers(Path("x"), np.array([1.0, value]), 10)


@pytest.mark.parametrize("packed", [False, True])
def test_what_else_is_in_a_mat_does_not_matter(tmp_path: Path, packed: bool) -> None:
    others = {"text": "hello", "cell": np.array([1, "x"], object), "sparse": sparse.csc_matrix(np.eye(3)), "z": 1j}
    savemat(tmp_path / "x.mat", {**others, "a": PIXELS, "empty": np.zeros((0, 3))}, do_compression=packed)
    a, empty = read_mat(tmp_path / "x.mat", ["a", "empty"])
    assert np.array_equal(a, PIXELS)
    assert empty.shape == (0, 3)
    for name in others:
        with pytest.raises(UsageError, match=f"{name} is no full matrix of real numbers"):
            read_mat(tmp_path / "x.mat", [name])


def test_mat_of_version_7_3_is_refused_with_what_to_do(tmp_path: Path) -> None:
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM"
    with pytest.raises(UsageError, match=r"it is of version 7\.3: save it as version 7"):
        read_mat(write(tmp_path / "x.mat", header + bytes(100)), ["a"])
