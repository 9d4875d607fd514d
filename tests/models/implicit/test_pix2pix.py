"""The pix2pix pair: what is made of sources, with and without noise, of other sizes and of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

import ppgen
from ppgen.data import Dataset, DataSpec, load_data
from ppgen.errors import UsageError
from ppgen.inference import NonSaturating, Paired
from ppgen.layers.pictures import ImageCritic
from ppgen.models import Pix2Pix
from ppgen.pairs.sampling import unconditioned
from ppgen.report.samples import translations
from ppgen.testing import check_pair

SPEC = DataSpec("plane", 2, "real", source=DataSpec("space", 3, "real"), paired="all")
RANDOM = torch.Generator().manual_seed(0)
X, S = torch.randn(6, 2, generator=RANDOM), torch.randn(6, 3, generator=RANDOM)


def test_a_draw_is_the_generator_at_source_and_noise_and_a_translation_at_no_noise() -> None:
    pair = Pix2Pix(SPEC, noise=2, hidden=(4,))
    sites = unconditioned(pair.model, (X, S))
    assert torch.equal(sites["x"]["value"], pair.generator(torch.cat([S, sites["z"]["value"]], -1)))
    assert torch.equal(pair.translate(S), pair.generator(torch.cat([S, torch.zeros(6, 2)], -1)))


@pytest.mark.usefixtures("graphs_as_they_are")
def test_without_noise_there_are_no_latents() -> None:
    pair = Pix2Pix(SPEC, hidden=(4,))
    sites = unconditioned(pair.model, (X, S))
    assert torch.equal(sites["x"]["value"], pair.translate(S))
    assert "z" not in sites
    assert check_pair(pair, (X, S)).ok


@pytest.mark.usefixtures("graphs_as_they_are")
def test_noise_stands_beside_the_code_of_a_picture() -> None:
    data = load_data("edges", of="digits")
    batch = (data.test[0][:5], data.test[1][:5])
    pair = Pix2Pix(data.spec, network="conv", channels=(3, 4), hidden=(5,), noise=2)
    first, second = (unconditioned(pair.model, batch)["x"]["value"] for _ in range(2))
    assert first.shape == (5, 64)
    assert not torch.equal(first, second)
    assert check_pair(pair, batch).ok


def test_a_critic_of_pictures_sees_the_source_as_a_picture() -> None:
    """A 4 x 4 kernel with one weight, on the source's plane, sees the source's own pixel and not x."""
    critic = ImageCritic((1, 4, 4), (1,), "none", num_more=1).double()
    convolution: Any = critic.convolutions[0]
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.zero_()
        convolution.weight[0, 1, 1, 1] = 1.0  # at stride 2 and padding 1: pixels of even row and column
        critic.dense.weight[0, 1] = 1.0  # of row 0, column 2
    x, s = torch.rand(2, 3, 16, dtype=torch.float64, generator=RANDOM)
    torch.testing.assert_close(critic(x, s), s[:, 2])


def test_pictures_are_trained_measured_and_shown(tmp_path: Path) -> None:
    data = load_data("edges", of="digits")
    pair = ppgen.make_pair("pix2pix", data.spec, network="conv", channels=(3, 4), hidden=(5,))
    objective = Paired(game=NonSaturating(critic="conv", hidden=(2, 3)))
    run = ppgen.fit(pair, data, objective, steps=2, batch_size=6, eager=True, out=tmp_path)
    found = {one.name: one.value for one in run.evaluate(num_samples=4, num_data=20).measures}
    x, s = (part[:20] for part in data.test)
    with torch.no_grad():
        assert found["translation_error"] == pytest.approx((pair.translate(s) - x).norm(dim=1).mean().item(), rel=1e-5)
    assert "back_translation_error" not in found
    section = translations(run)
    assert section is not None
    assert len(section.figures) == 1


def test_sources_of_another_size_are_shown_by_themselves(tmp_path: Path) -> None:
    data = Dataset(SPEC, (X, S), (X, S), (X, S))
    pair = ppgen.make_pair("pix2pix", data.spec, hidden=(4,))
    run = ppgen.fit(pair, data, Paired(game=NonSaturating(hidden=(4,))), steps=1, batch_size=6, eager=True)
    section = translations(run)
    assert section is not None
    assert len(section.figures) == 2


def test_pairs_of_a_linear_map_are_learnt() -> None:
    """A linear generator, 300 steps: within 0.05 of the map x = A s on 500 others, whose own spread is above one."""
    A = torch.tensor([[1.0, -0.5, 0.3], [0.2, 0.8, -1.0]])
    s = torch.randn(1500, 3, generator=torch.Generator().manual_seed(1))
    data = Dataset(SPEC, (s[:1000] @ A.T, s[:1000]), (), (s[1000:] @ A.T, s[1000:]))
    torch.manual_seed(0)
    pair = ppgen.make_pair("pix2pix", data.spec, hidden=())
    options = {"steps": 300, "batch_size": 100, "lr": 0.02, "seed": 0, "eager": True}
    ppgen.fit(pair, data, Paired(game=NonSaturating(hidden=(16,)), weight=10.0), **options)  # type: ignore[arg-type]
    x, s = data.test
    with torch.no_grad():
        assert (pair.translate(s) - x).norm(dim=1).mean().item() < 0.05
    assert x.norm(dim=1).mean() > 1


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: Pix2Pix(DataSpec("ring", 2, "real")),
            "Pix2Pix translates one set into another, and data 'ring' are one",
        ),
        (
            lambda: Pix2Pix(load_data("affine_moons", num_data=10).spec),
            "Pix2Pix learns from pairs, and the training rows of data 'affine_moons' are none",
        ),
        (lambda: Pix2Pix(SPEC, noise=-1), "noise must be"),
        (lambda: Pix2Pix(SPEC, network=cast(Any, lambda *_: nn.Identity)), "must make a torch.nn.Module"),
    ],
)
def test_data_that_are_no_pairs_are_refused(make: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()
