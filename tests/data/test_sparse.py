"""Sparse rows are the dense matrix wherever rows are taken, and never dense where they are not."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor

from ppgen.data import SPLITS, SparseRows, as_dataset, dataset_from
from ppgen.errors import UsageError
from ppgen.training.batches import Batches


def documents(num: int = 12, words: int = 7) -> Tensor:
    """Counts, most of them zero, with at least one word a document."""
    x = torch.poisson(torch.full((num, words), 0.4))
    x[:, 0] += 1
    return x


def test_rows_are_those_of_the_dense_matrix() -> None:
    x = documents()
    x[3] = 0
    rows, index = SparseRows.of(x), torch.tensor([5, 3, 5, 0])
    assert torch.equal(rows.index_select(0, index), x[index])
    assert torch.equal(rows[index], x[index])
    assert torch.equal(rows[2:9:3], x[2:9:3])
    assert torch.equal(rows[-2:], x[-2:])
    assert torch.equal(rows[x.sum(1) > 3], x[x.sum(1) > 3])
    assert torch.equal(rows[:], x)
    assert rows[4:4].shape == (0, 7)
    assert torch.equal(rows.take(index)[:], x[index])


def test_sums_and_means_are_those_of_the_dense_matrix() -> None:
    x = documents()
    rows = SparseRows.of(x)
    for dim in (0, 1):
        assert torch.equal(rows.sum(dim), x.sum(dim))
        assert torch.allclose(rows.mean(dim), x.mean(dim))
    assert (len(rows), rows.shape, rows.ndim, rows.dtype, rows.is_floating_point()) == (12, x.shape, 2, x.dtype, True)


@pytest.mark.parametrize(
    "form", [sparse.csr_matrix, sparse.csc_matrix, sparse.coo_array, torch.Tensor.to_sparse, torch.Tensor.to_sparse_csr]
)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")  # torch's own tensors of that kind
def test_every_sparse_form_gives_the_same_rows(form: Any) -> None:
    x = documents()
    made = dataset_from(form(x), valid=x, test=x)
    assert isinstance(made.train[0], SparseRows)
    assert torch.equal(made.train[0][:], x)
    assert made.spec.observation == "counts"


def test_entries_of_one_place_are_added_up_and_zeros_are_not_kept() -> None:
    twice = sparse.coo_matrix(([1.0, 2.0, 0.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 3))
    rows = SparseRows.of(twice)
    assert rows.values.tolist() == [3.0]
    assert rows[:].tolist() == [[0, 3, 0], [0, 0, 0]]


def test_minibatches_of_sparse_data_are_those_of_dense_data() -> None:
    x = documents(20)
    dense, rows = (Batches((data,), 6, seed=3) for data in (x, SparseRows.of(x)))
    for cursor in range(7):
        assert torch.equal(dense[cursor][0], rows[cursor][0])


def test_a_sparse_data_set_has_the_rows_of_the_dense_one() -> None:
    x = documents(40)
    one, other = dataset_from(x, observation="counts"), dataset_from(sparse.csr_matrix(x))
    assert one.spec == other.spec
    assert one.spec.mean is not None
    assert other.spec.mean is not None
    assert torch.allclose(one.spec.mean, other.spec.mean)
    for split in SPLITS:
        assert torch.equal(one.split(split)[0], other.rows(split)[0])
        assert torch.equal(one.rows(split, slice(1, 3))[0], other.rows(split, torch.tensor([1, 2]))[0])
    assert other.sha256 == dataset_from(sparse.csr_matrix(x)).sha256 == other.to("cpu").sha256
    assert other.sha256 != dataset_from(sparse.csr_matrix(x.flip(1))).sha256


def test_labels_go_with_sparse_rows() -> None:
    x, y = documents(30), torch.arange(30) % 3
    data = dataset_from((sparse.csr_matrix(x), y), num_classes=3)
    for split in SPLITS:
        for row, label in zip(*data.rows(split), strict=True):
            assert any(torch.equal(row, x[i]) for i in range(30) if y[i] == label)


@pytest.mark.gpu
def test_rows_are_made_on_the_device() -> None:
    x = documents()
    rows = SparseRows.of(x).to("cuda")
    assert rows.device.type == rows[2:5].device.type == "cuda"
    assert torch.equal(rows[torch.tensor([1, 4], device="cuda")].cpu(), x[[1, 4]])


def bad(value: float) -> Tensor:
    x = documents()
    x[4, 2] = value
    return x


@pytest.mark.parametrize("form", [torch.Tensor.clone, sparse.csr_matrix])
@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (bad(-1), r"train of data 'user' must hold counts 0, 1, 2, ..., got -1 in row 4, column 2: give word counts"),
        (bad(0.5), r"must hold counts 0, 1, 2, ..., got 0.5 in row 4, column 2"),
        (bad(float("nan")), r"must hold finite numbers, got nan in row 4, column 2"),
        (bad(float("inf")), r"must hold finite numbers, got inf in row 4, column 2"),
        (
            documents() * (torch.arange(12) % 5 != 3)[:, None],
            r"2 of 12 are empty \(row 3, 8\): drop the empty documents",
        ),
        (torch.zeros(12, 7), r"12 of 12 are empty \(row 0, 1, 2, 3, 4, ...\): drop the empty documents"),
    ],
    ids=["negative", "fraction", "nan", "infinite", "empty documents", "all empty"],
)
def test_counts_are_refused_by_row(form: Any, x: Tensor, sentence: str) -> None:
    fine = documents()
    with pytest.raises(UsageError, match=sentence):
        dataset_from(form(x), valid=fine, test=fine, observation="counts")


def test_only_counts_are_sparse() -> None:
    with pytest.raises(
        UsageError, match="x in train of data 'user' is sparse, which only counts may be, and is binary"
    ):
        dataset_from(sparse.csr_matrix(np.eye(20)), observation="binary")


@pytest.mark.parametrize(
    ("indptr", "indices", "sentence"),
    [
        ([0, 2], [0, 1, 2], "ascend from 0 to 3, the number of entries, got (0, 2)"),
        ([0, 2, 1, 3], [0, 1, 2], "ascend"),
        ([], [0, 1, 2], "must have shapes (N + 1,), (n,) and (n,), got (0,), (3,), (3,)"),
        ([0, 3], [0, 1, 4], "must be columns 0..3, got 0..4"),
        ([0, 3], [0, 1, -1], "must be columns 0..3, got -1..1"),
        ([0, 3], [0, 1], "must have shapes"),
    ],
)
def test_arrays_that_are_no_rows_are_refused(indptr: list[int], indices: list[int], sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        SparseRows(torch.tensor(indptr, dtype=torch.int64), torch.tensor(indices), torch.ones(3), 4)
    assert sentence in str(refused.value)


def test_the_length_is_the_mean_number_of_words() -> None:
    x = torch.tensor([[3.0, 0, 2], [1, 4, 0], [5, 0, 0], [0, 2, 1]])
    assert dataset_from(x, valid=x, test=x[:1], observation="counts").spec.length == 4  # 18 / 4, to even
    assert dataset_from(sparse.csr_matrix(x[:3]), valid=x, test=x).spec.length == 5
    assert dataset_from(x, valid=x, test=x).spec.length is None  # real numbers are no documents


def test_the_vocabulary_names_the_columns() -> None:
    x = documents(20, words=3)
    data = dataset_from(x, observation="counts", vocabulary=["a", "b", "c"])
    assert data.spec.vocabulary == ("a", "b", "c")
    with pytest.raises(UsageError, match="vocabulary of data 'user' must hold num_features=3 words, got 2"):
        dataset_from(x, observation="counts", vocabulary=["a", "b"])


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16, np.uint16, np.float32])
def test_counts_of_short_types_do_not_wrap_around(kind: Any) -> None:
    x = np.full((4, 3), 100).astype(kind)
    for form in (sparse.csr_matrix, sparse.coo_array, torch.from_numpy):
        data = dataset_from(form(x), valid=x, test=x, observation="counts")
        assert data.train[0].sum(1).tolist() == [300] * 4
    kept = SparseRows.of(sparse.csr_array(x), keep_type=True)
    assert kept.sum(1).tolist() == [300] * 4
    assert kept.mean(0).tolist() == [100] * 3


@pytest.mark.parametrize("kind", [torch.half, torch.bfloat16, torch.uint8, torch.bool, torch.int64])
def test_sparse_tensors_of_every_type_are_rows(kind: torch.dtype) -> None:
    x = torch.eye(5, 3)
    x[3:, 0] = 1
    made = dataset_from(x.to(kind).to_sparse(), valid=x, test=x)
    assert torch.equal(made.train[0][:], x)
    kept = as_dataset(x.to(kind).to_sparse()).train[0]
    assert torch.equal(kept[:], x.to(kind))


def test_a_sum_that_its_type_does_not_hold_is_refused() -> None:
    twice = sparse.coo_matrix((np.array([200, 100], np.uint8), ([0, 0], [1, 1])), shape=(1, 3))
    assert SparseRows.of(twice).values.tolist() == [300]
    with pytest.raises(UsageError, match=r"train holds 300 in row 0, column 1, .* torch.uint8 .*: give floats"):
        as_dataset(twice)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_documents_that_float32_does_not_count_exactly_are_refused(form: Any) -> None:
    x, held = np.array([[2**24 - 1, 0], [1, 1]]), np.ones((1, 2))
    assert dataset_from(form(x), valid=held, test=held, observation="counts").rows("train")[0][0, 0] == 2**24 - 1
    for counts in ([2**24 + 1, 0], [2**23, 2**23]):
        with pytest.raises(
            UsageError, match=r"fewer than 16777216 words, which torch\.float32 counts exactly, got .* row 1"
        ):
            dataset_from(form([[1, 0], counts]), valid=held, test=held, observation="counts")


def test_indices_that_scipy_did_not_check_are_refused() -> None:
    matrix = sparse.csc_matrix(np.eye(3))
    matrix.indices[0] = 10**6
    with pytest.raises(UsageError, match=r"train is no sparse matrix that SciPy can read .*: make it anew"):
        as_dataset(matrix)


@pytest.mark.parametrize("matrix", [sparse.csr_array(np.eye(3) * 1j), sparse.coo_array(np.ones(3))], ids=str)
def test_what_is_no_matrix_of_numbers_is_refused(matrix: Any) -> None:
    with pytest.raises(UsageError, match=r"train must be a matrix \(N, D\) of numbers where it is sparse"):
        as_dataset(matrix)
