"""Patches: squares of whitened regions that no two splits share, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.fft import dctn, idctn
from sklearn.datasets import load_sample_images

from ppgen.data import SPLITS, load_data
from ppgen.data.patches import whitened
from ppgen.errors import UsageError


def photograph(path: Path, pixels: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def test_patches_are_squares_of_the_regions_of_their_split() -> None:
    data = load_data("patches", size=8, num_data=30, normalise="each", whiten=False)
    images = load_sample_images().images
    for split, (left, right) in zip(SPLITS, ((0, 448), (448, 544), (544, 640)), strict=True):
        greys = [image[:, left:right] @ [0.299, 0.587, 0.114] for image in images]
        every = [np.lib.stride_tricks.sliding_window_view(grey, (8, 8)).reshape(-1, 64) for grey in greys]
        contrasts = torch.from_numpy(np.concatenate(every))
        contrasts -= contrasts.mean(1, keepdim=True)
        contrasts /= contrasts.norm(dim=1, keepdim=True)
        x = data.split(split)[0].double()
        nearest = (x / x.norm(dim=1, keepdim=True) @ contrasts.nan_to_num().T).max(1).values
        assert nearest.min() > 1 - 1e-6  # float32
    assert [len(data.split(split)[0]) for split in SPLITS] == [30, 6, 6]


def test_whitening_makes_a_spectrum_that_falls_as_one_over_f_even_up_to_the_cutoff() -> None:
    random, size = np.random.RandomState(0), 128
    frequency = np.hypot(*np.meshgrid(*[np.arange(size) / (2 * size)] * 2))
    natural = idctn(random.standard_normal((size, size)) / np.where(frequency > 0, frequency, np.inf))
    found = dctn(whitened(natural), norm="ortho")
    bands = [found[(low < frequency) & (frequency < low + 0.05)].std() for low in (0.05, 0.1, 0.15)]
    assert max(bands) / min(bands) < 1.1  # exp(-(0.2 / 0.4)^4) = 0.94 and sampling, 3 percent
    assert found[frequency > 0.65].std() < 0.01 * bands[0]
    assert abs(found[0, 0]) < 1e-9


def test_each_patch_has_its_own_scale_or_all_have_one() -> None:
    each, every = (load_data("patches", num_data=200, normalise=how).train[0] for how in ("each", "all"))
    torch.testing.assert_close(each.mean(1), torch.zeros(200), atol=1e-5, rtol=0)
    torch.testing.assert_close(each.std(1, correction=0), torch.ones(200))
    torch.testing.assert_close(every.std(correction=0), torch.tensor(1.0))
    assert every.std(1).min() < 0.1


def test_the_seed_draws_the_places() -> None:
    first, again, other = (load_data("patches", num_data=20, seed=seed).train[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_photographs_of_ones_own(tmp_path: Path) -> None:
    photograph(tmp_path / "own.png", np.random.RandomState(0).randint(256, size=(20, 100, 3)))
    data = load_data("patches", file=str(tmp_path), size=4, num_data=20)
    assert data.spec.image_shape == (4, 4)


def test_what_has_no_patches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a folder of photographs .* got 'nowhere'"):
        load_data("patches", file="nowhere")
    photograph(tmp_path / "small" / "own.png", np.zeros((20, 50)))
    with pytest.raises(UsageError, match=r"8 x 8 pixels .*own.png is 50 x 20: lower size"):
        load_data("patches", file=str(tmp_path / "small"), size=8)
    photograph(tmp_path / "blank" / "own.png", np.full((20, 100), 7))
    with pytest.raises(UsageError, match=r"all 10 patches of .*blank' are zero, their photographs are blank: give"):
        load_data("patches", file=str(tmp_path / "blank"), size=4, num_data=10, normalise="all")
    pixels = np.random.RandomState(0).randint(256, size=(20, 100))
    pixels[:, :35] = 9
    photograph(tmp_path / "half" / "own.png", pixels)
    with pytest.raises(UsageError, match=r"of 50 patches of .*half' are constant, .*normalise='all'"):
        load_data("patches", file=str(tmp_path / "half"), size=4, num_data=50, normalise="each", whiten=False)
    with pytest.raises(UsageError, match="size must be a whole number of at least 2, got 1"):
        load_data("patches", size=1)
