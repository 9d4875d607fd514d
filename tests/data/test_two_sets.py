"""Two sets side by side: what a row is, how sets of other sizes are shown, known maps, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ppgen.data import SPLITS, Dataset, DataSpec, as_dataset, load_data, translation_data
from ppgen.data.affine_moons import AffineMap
from ppgen.data.translated_digits import edges_of
from ppgen.errors import UsageError


def numbered(num: int, size: int = 1) -> Dataset:
    """Rows whose numbers are their own place, in train, valid and test alike."""
    x = torch.arange(float(num))[:, None].expand(num, size).contiguous()
    return Dataset(DataSpec("numbered", size, "real", num_data=num), (x,), (x,), (x,))


def test_the_smaller_of_two_unpaired_sets_is_gone_through_again() -> None:
    data = translation_data(numbered(5), numbered(12, 2))
    for split in SPLITS:
        x, s = data.split(split)
        assert (x.shape, s.shape) == ((12, 2), (12, 1))
        assert x[:, 0].tolist() == list(range(12))
        assert sorted(torch.bincount(s[:, 0].long()).tolist()) == [2, 2, 2, 3, 3]
    x, s = translation_data(numbered(12), numbered(5)).train
    assert x[:, 0].tolist() == [*range(5), *range(5), 0, 1]
    assert sorted(s[:, 0].tolist()) == list(range(12))


def test_unpaired_sources_are_in_another_order_that_the_seed_says() -> None:
    first, same, other = (translation_data(numbered(50), numbered(50), seed=seed).train[1] for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert (first[:, 0] != torch.arange(50)).sum() > 40


@pytest.mark.parametrize(("paired", "together"), [("all", 3), ("held_out", 2), ("none", 0)])
def test_rows_of_pairs_stay_together(paired: Any, together: int) -> None:
    data = translation_data(numbered(20), numbered(20), paired=paired)
    same = [torch.equal(*data.split(split)) for split in SPLITS]
    assert same == [data.spec.pairs_in(split) for split in SPLITS]
    assert sum(same) == together


def test_the_sources_are_a_data_set_of_their_own() -> None:
    data = translation_data(numbered(4, 3), numbered(4), paired="all")
    assert data.sources is not None
    assert (data.sources.spec.num_features, data.spec.num_features) == (3, 1)
    assert torch.equal(data.sources.test[0], data.test[1])
    assert numbered(4).sources is None


def test_a_description_with_a_source_is_written_and_read() -> None:
    spec = load_data("edges", of="digits").spec
    again = DataSpec.from_json(spec.to_json())
    assert again == spec
    assert again.source is not None
    assert again.source.image_shape == (8, 8)


def test_affine_moons_are_pairs_of_the_map_where_they_are_held_out() -> None:
    data, there = load_data("affine_moons", num_data=3000), AffineMap()
    for split in ("valid", "test"):
        x, s = data.rows(split)
        np.testing.assert_allclose(x.numpy(), there(s.numpy()), atol=1e-5)
        np.testing.assert_allclose(there.inverse(x.numpy()), s.numpy(), atol=1e-5)
    x, s = (part.numpy() for part in data.train)
    assert np.linalg.norm(x - there(s), axis=1).mean() > 0.5
    paired = load_data("affine_moons", num_data=3000, paired="all")
    np.testing.assert_allclose(paired.train[0].numpy(), there(paired.train[1].numpy()), atol=1e-5)
    assert torch.equal(paired.test[0], data.test[0])


def test_unpaired_affine_moons_have_one_distribution_but_for_the_map() -> None:
    """Means and covariances of 10,000, within five standard errors of about 0.01; two thirds are on the first moon."""
    x, s = (part.double().numpy() for part in load_data("affine_moons").train)
    back = AffineMap().inverse(x)
    np.testing.assert_allclose(back.mean(0), s.mean(0), atol=0.05)
    np.testing.assert_allclose(np.cov(back.T), np.cov(s.T), atol=0.05)
    assert len(np.intersect1d(back[:, 0].round(6), s[:, 0].round(6))) < 100
    upper = ((np.linalg.norm(s, axis=1) - 1).__abs__() < 0.2) & (s[:, 1] > 0.6)
    lower = ((np.linalg.norm(s - [1, 0.5], axis=1) - 1).__abs__() < 0.2) & (s[:, 1] < -0.1)
    assert upper.sum() / lower.sum() == pytest.approx(2, rel=0.1)


def test_turned_digits_are_turned_and_inverted() -> None:
    data = load_data("turned_digits", of="digits")
    x, s = (part.reshape(-1, 8, 8) for part in data.test)
    torch.testing.assert_close(x, 1 - torch.rot90(s, 1, (1, 2)))
    assert (data.spec.observation, data.spec.levels, data.spec.paired) == ("quantised", 17, "held_out")
    grey = load_data("digits", binarize="none")
    x, s = data.train
    assert torch.equal(torch.cat([s.unique(dim=0)]), grey.train[0][:648].unique(dim=0))
    back = 1 - torch.rot90(x.reshape(-1, 8, 8), -1, (1, 2)).reshape(-1, 64)
    torch.testing.assert_close(back, grey.train[0][648:])


def test_edges_are_where_grey_levels_are_steep() -> None:
    """A bright half: the derivative across is 4 / 8 beside the step and zero elsewhere, at the rim too."""
    picture = np.zeros((1, 5, 6))
    picture[:, :, 3:] = 1
    expected = np.zeros((1, 5, 6), bool)
    expected[:, :, 2:4] = True
    assert np.array_equal(edges_of(picture), expected)
    assert np.array_equal(edges_of(picture.transpose(0, 2, 1)), expected.transpose(0, 2, 1))
    assert not edges_of(0.4 * picture).any()
    assert np.array_equal(edges_of(np.repeat(picture, 3, 0))[1:2], expected)


def test_edges_are_pairs_with_their_digits() -> None:
    data, grey = load_data("edges", of="digits"), load_data("digits", binarize="none")
    for split in SPLITS:
        x, s = data.split(split)
        assert torch.equal(x, grey.split(split)[0])
        assert np.array_equal(s.reshape(-1, 8, 8).numpy() > 0, edges_of(x.reshape(-1, 8, 8).numpy()))
    assert set(data.train[1].unique().tolist()) == {0.0, 1.0}
    assert load_data("edges", of="digits", paired="held_out").spec.num_data == 649


@pytest.mark.thorough
def test_real_digits_are_turned_and_have_edges(require_data: Callable[[str], Path]) -> None:
    require_data("train-images-idx3-ubyte.gz")
    turned, drawn = load_data("turned_digits"), load_data("edges")
    assert (turned.spec.num_data, drawn.spec.num_data) == (25_000, 50_000)
    x, s = (part[:50].reshape(-1, 28, 28) for part in turned.test)
    torch.testing.assert_close(x, 1 - torch.rot90(s, 1, (1, 2)))
    assert 0.1 < drawn.train[1].mean().item() < 0.3


def test_two_sets_are_named_by_files_or_by_names(tmp_path: Path) -> None:
    np.save(tmp_path / "source.npy", np.random.RandomState(0).standard_normal((40, 3)))
    data = load_data("two_sets", source=str(tmp_path / "source.npy"), target="moons")
    assert data.spec.source is not None
    assert (data.spec.num_features, data.spec.source.num_features, data.spec.paired) == (2, 3, "none")
    assert data.config["name"] == "two_sets"
    assert len(data.train[0]) == 10_000


def with_labels() -> Dataset:
    return load_data("moons", labels=True, num_data=20)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: load_data("two_sets"), "needs a source and a target, and source is empty"),
        (
            lambda: translation_data(with_labels(), numbered(20)),
            "data 'moons' have labels of 2 classes: load them with",
        ),
        (
            lambda: translation_data(load_data("digits"), numbered(20)),
            "data 'digits' are drawn anew at each presentation",
        ),
        (
            lambda: translation_data(numbered(20), numbered(19), paired="all"),
            "rows of train are pairs, and the target has 19 of them where the source has 20",
        ),
        (
            lambda: translation_data(as_dataset(torch.zeros(3, 2)), numbered(3)),
            "the target has data held out for 'valid' and the source has none",
        ),
        (lambda: translation_data(numbered(3), numbered(3), paired="some"), "paired must be"),  # type: ignore[arg-type]
        (
            lambda: translation_data(translation_data(numbered(3), numbered(3)), numbered(3)),
            "have a source of its own: load them without",
        ),
        (lambda: DataSpec("x", 2, "real", paired="all"), "give both, or neither"),
        (
            lambda: DataSpec("x", 2, "real", num_classes=2, source=DataSpec("s", 2, "real"), paired="all"),
            "is a source and cannot be a label too",
        ),
    ],
)
def test_what_is_no_pair_of_sets_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        ((), r"must be \(x, source\) with a floating-point source of shape \(B, 3\)"),
        ((torch.zeros(4, 2),), r"floating-point source of shape \(B, 3\), got"),
        ((torch.zeros(4, 3).long(),), "floating-point source"),
        ((torch.full((4, 3), 0.5),), "the source in train .* must hold 0 or 1, got 0.5 in row 0, column 0"),
        ((torch.full((4, 3), torch.nan),), "must hold finite numbers, got nan"),
    ],
)
def test_a_split_with_another_source_is_refused(second: Any, sentence: str) -> None:
    spec = DataSpec("x", 2, "real", source=DataSpec("bits", 3, "binary"), paired="all")
    with pytest.raises(UsageError, match=sentence):
        Dataset(spec, (torch.zeros(4, 2), *second))
