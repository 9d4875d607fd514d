"""A data set refuses splits that its spec does not describe, and presents dynamic data anew each time."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from ppgen.data import SPLITS, Dataset, DataSpec
from ppgen.data.modes import Modes
from ppgen.errors import UsageError

NAN, INF = float("nan"), float("inf")


def dataset(x: Any = None, y: Any = None, *, split: str = "train", dynamic: bool = False, **spec: Any) -> Dataset:
    """Four rows of three features in every split, with ``x`` and ``y`` put into one of them."""
    described: dict[str, Any] = {"num_features": 3, "observation": "real"} | spec
    facts = DataSpec("toy", **described)
    labels = () if facts.num_classes is None else (torch.zeros(4, dtype=torch.int64),)
    splits: dict[str, Any] = {name: (torch.zeros(4, 3), *labels) for name in SPLITS}
    if x is not None:
        splits[split] = (x,) if y is None else (x, y)
    return Dataset(facts, **splits, dynamic=dynamic)


def with_entry(value: float) -> torch.Tensor:
    x = torch.zeros(4, 3)
    x[2, 1] = value
    return x


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_dataset_names_split_and_row_of_what_is_not_finite(split: str, value: float) -> None:
    sentence = rf"{split} of data 'toy' must hold finite numbers, got {value:g} in row 2, column 1"
    with pytest.raises(UsageError, match=sentence):
        dataset(with_entry(value), split=split)


@pytest.mark.parametrize("split", SPLITS)
def test_dataset_refuses_an_empty_split(split: str) -> None:
    with pytest.raises(UsageError, match=f"{split} of data 'toy' is empty"):
        dataset(torch.zeros(0, 3), split=split)


@pytest.mark.parametrize(
    "x", [torch.zeros(4), torch.zeros(4, 2), torch.zeros(4, 3, 1), torch.zeros(4, 3, dtype=torch.int64)]
)
def test_dataset_refuses_a_wrong_shape_or_type(x: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"shape \(B, 3\), got"):
        dataset(x)


def test_dataset_refuses_a_split_that_is_no_tuple() -> None:
    whole = dataset()
    with pytest.raises(UsageError, match="valid of data 'toy' must be a tuple of tensors"):
        replace(whole, valid=whole.valid[0])


def test_dataset_refuses_tensors_of_different_length() -> None:
    with pytest.raises(UsageError, match=r"same number of rows, got \[4, 5\]"):
        dataset(torch.zeros(4, 3), torch.zeros(5))


@pytest.mark.parametrize("value", [0.5, 2.0, -1.0])
def test_binary_data_is_zero_or_one(value: float) -> None:
    with pytest.raises(UsageError, match=f"must hold 0 or 1, got {value:g} in row 2, column 1"):
        dataset(with_entry(value), observation="binary")


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_dynamic_data_is_a_probability(value: float) -> None:
    with pytest.raises(UsageError, match=r"must hold probabilities in \[0, 1\]"):
        dataset(with_entry(value), observation="binary", dynamic=True)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_dynamic_data_is_drawn_once_where_it_is_evaluated(split: str) -> None:
    with pytest.raises(UsageError, match=f"{split} .* must hold 0 or 1"):
        dataset(with_entry(0.5), split=split, observation="binary", dynamic=True)


@pytest.mark.parametrize("value", [0.5, 2.0, -1.0])
def test_quantised_data_is_on_its_grid(value: float) -> None:
    grid = torch.arange(12).reshape(4, 3) / 15
    dataset(grid, observation="quantised", levels=16)
    with pytest.raises(UsageError, match=r"must hold k / 15 with k = 0..15"):
        dataset(with_entry(value), observation="quantised", levels=16)


@pytest.mark.parametrize(
    ("y", "sentence"),
    [
        (None, "with int64 labels"),
        (torch.zeros(4), "with int64 labels"),
        (torch.zeros(4, 1, dtype=torch.int64), "with int64 labels"),
        (torch.tensor([0, 1, 2, 0]), r"labels 0..1, got 2 in row 2: "),
        (torch.tensor([0, -1, 0, 0]), r"labels 0..1, got -1 in row 1: "),
    ],
)
def test_labels_are_integers_below_the_number_of_classes(y: torch.Tensor | None, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        dataset(torch.zeros(4, 3), y, num_classes=2)


def test_num_data_is_the_number_of_training_rows() -> None:
    dataset(num_data=4)
    with pytest.raises(UsageError, match="num_data of data 'toy' is 5, but train has 4 rows"):
        dataset(num_data=5)


def test_only_binary_data_is_dynamic() -> None:
    with pytest.raises(UsageError, match="only binary data"):
        dataset(dynamic=True)


def test_dequantised_data_stay_in_their_cell_at_the_upper_edge_too() -> None:
    data = dataset(torch.tensor([[0.0, 0.5, 1.0]] * 4), observation="real", levels=3, dynamic=True)
    (x,) = data.draw(data.train)
    assert torch.equal((x * 3).floor(), torch.tensor([[0.0, 1.0, 2.0]] * 4))


def test_dequantised_data_lie_in_the_unit_interval() -> None:
    with pytest.raises(UsageError, match=r"numbers in \[0, 1\], got 1.5 in row 0"):
        dataset(torch.full((4, 3), 1.5), observation="real", levels=3)


def test_draw_repeats_with_the_seed_and_varies_without() -> None:
    data = dataset(torch.full((4, 3), 0.5), observation="binary", dynamic=True)
    torch.manual_seed(1)
    first, second = data.draw(data.train)[0], data.draw(data.train)[0]
    torch.manual_seed(1)
    assert torch.equal(first, data.draw(data.train)[0])
    assert not torch.equal(first, second)  # by chance once in 4096, and the seed is fixed
    assert torch.equal(data.train[0], torch.full((4, 3), 0.5))


def test_draw_has_the_probabilities_as_its_mean() -> None:
    p = torch.rand(20, 3)
    data = Dataset(DataSpec("toy", 3, "binary"), (p,), (p.round(),), (p.round(),), dynamic=True)
    draws = torch.stack([data.draw(data.train)[0] for _ in range(4000)])  # (4000, 20, 3)
    z = (draws.mean(0) - p) / (p * (1 - p) / 4000).sqrt()
    assert z.abs().max() < 4.8  # 60 normal tests at 1.6e-6 each: a false alarm in 1e4 seeds


def test_draw_leaves_zeros_and_ones_and_labels_alone() -> None:
    x, y = (torch.rand(4, 3) > 0.5).float(), torch.tensor([0, 1, 1, 0])
    data = dataset(x, y, observation="binary", num_classes=2, dynamic=True)
    drawn = data.draw((x, y))
    assert torch.equal(drawn[0], x)
    assert drawn[1] is y


def test_draw_of_static_data_is_the_batch_itself() -> None:
    data = dataset()
    assert data.draw(data.train) is data.train


def test_draw_traces_into_a_graph_that_draws_anew() -> None:
    data = dataset(torch.full((4, 3), 0.5), observation="binary", dynamic=True)
    graph = make_fx(lambda x: data.draw((x,))[0])(data.train[0])
    torch.manual_seed(1)
    traced = graph(data.train[0])
    assert not torch.equal(traced, graph(data.train[0]))
    torch.manual_seed(1)
    assert torch.equal(traced, data.draw(data.train)[0])


def test_split_gives_the_split_of_that_name() -> None:
    data = dataset()
    assert all(data.split(name) is getattr(data, name) for name in SPLITS)
    with pytest.raises(UsageError, match="unknown split 'tests': did you mean 'test'"):
        data.split("tests")


def test_to_moves_every_tensor_and_keeps_the_rest() -> None:
    data = dataset(num_classes=2, num_data=4)
    moved = data.to("cpu")
    assert moved.sha256 == data.sha256
    assert moved.spec is data.spec


@pytest.mark.gpu
def test_to_moves_to_the_device_and_back() -> None:
    data = dataset(num_classes=2)
    moved = data.to("cuda")
    assert all(part.is_cuda for name in SPLITS for part in moved.split(name))
    assert moved.sha256 == data.sha256


def test_sha256_changes_with_a_bit_and_with_the_order_of_splits() -> None:
    one = torch.zeros(4, 3)
    other = with_entry(1e-30)
    hashes = {dataset(x, split=split).sha256 for x in (one, other) for split in SPLITS}
    assert len(hashes) == 4  # the three places of the changed bit, and none


def test_held_out_data_are_of_the_kind_of_train() -> None:
    whole = dataset()
    for other in (torch.zeros(4, 3, dtype=torch.float64), torch.zeros(4, 2)):
        with pytest.raises(
            UsageError, match=r"valid must be of the kind of train, which is torch\.float32 \(N, 3\) on cpu"
        ):
            replace(whole, valid=(other,))
    with pytest.raises(UsageError, match="test must be of the kind of train"):
        replace(whole, test=(*whole.test, torch.zeros(4)))


@pytest.mark.parametrize(
    ("part", "value", "sentence"),
    [
        ("spec", "digits", "spec of a Dataset must be a DataSpec, got 'digits'"),
        ("dynamic", "no", "dynamic of a Dataset must be a bool, got 'no'"),
        ("config", "digits", "config of a Dataset must be a Mapping, got 'digits'"),
        ("modes", torch.zeros(2, 3), "modes of a Dataset must be a .*Modes"),
        ("modes", Modes(torch.zeros(2, 5), 1.0), "must have num_features=3 coordinates, got 5"),
        ("beside", [dataset()], "beside of a Dataset must be a tuple"),
        ("beside", (torch.zeros(3),), "beside of a Dataset must hold Datasets"),
        ("train", None, "train of data 'toy' must be a tuple of tensors"),
    ],
)
def test_dataset_refuses_parts_of_another_kind(part: str, value: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        replace(dataset(), **{part: value})
