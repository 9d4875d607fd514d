"""The CycleGAN pair: a map and its inverse, between vectors and between pictures, measured, shown, and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import ppgen
from ppgen.data import Dataset, DataSpec, load_data, translation_data
from ppgen.draws.samples import prior_samples, reconstructions
from ppgen.errors import UsageError
from ppgen.inference import Cycle, LeastSquares, NonSaturating
from ppgen.models import CycleGAN
from ppgen.pairs.sampling import unconditioned
from ppgen.pairs.traces import sites_of
from ppgen.report.samples import reconstructed_data, translations
from ppgen.testing import check_pair

PLANE = DataSpec("plane", 2, "real", source=DataSpec("other", 2, "real"), paired="held_out")
X, S = torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(0))


def test_the_model_makes_targets_of_the_batchs_sources_and_the_guide_sources_of_its_targets() -> None:
    pair = CycleGAN(PLANE, hidden=(4,))
    drawn, inferred = unconditioned(pair.model, (X, S)), sites_of(pair.guide, X, S)
    assert torch.equal(drawn["s"]["value"], S)
    assert torch.equal(drawn["x"]["value"], pair.translate(S))
    assert torch.equal(inferred["s"]["value"], pair.translate_back(X))
    assert torch.equal(prior_samples(pair, (X, S), num=8).x, pair.translate(S[[0, 1, 2, 3, 4, 5, 0, 1]]).detach())
    assert torch.equal(reconstructions(pair, (X, S)).mean, pair.translate(pair.translate_back(X)).detach())


def test_either_map_starts_at_the_mean_of_what_it_makes() -> None:
    data = translation_data(X[:4].repeat(10, 1) + 5, S[:4].repeat(10, 1) - 3)
    pair = CycleGAN(data.spec, hidden=(4,))
    with torch.no_grad():
        for layer in (pair.generator, pair.inverse):
            for name, parameter in layer.named_parameters():
                parameter.mul_(float("bias" in name))
    x, s = data.train
    torch.testing.assert_close(pair.translate(s)[0], x.mean(0))
    torch.testing.assert_close(pair.translate_back(x)[0], s.mean(0), rtol=0, atol=1e-4)


def test_residual_maps_begin_as_the_shift_from_mean_to_mean() -> None:
    data = translation_data(X.repeat(10, 1) + 5, S.repeat(10, 1) - 3)
    pair, (x, s) = CycleGAN(data.spec, hidden=(4,), residual=True), data.train
    torch.testing.assert_close(pair.translate(s), s - s.mean(0) + x.mean(0))
    torch.testing.assert_close(pair.translate_back(x), x - x.mean(0) + s.mean(0))


@pytest.mark.usefixtures("graphs_as_they_are")
def test_convolutions_translate_pictures_in_their_range() -> None:
    data = load_data("turned_digits", of="digits")
    pair = CycleGAN(data.spec, network="conv", channels=(3, 4), hidden=(5, 6))
    made = pair.translate(data.test[1][:7])
    assert made.shape == (7, 64)
    assert bool(((made > 0) & (made < 1)).all())
    assert check_pair(pair, (data.test[0][:5], data.test[1][:5])).ok


def fitted(tmp_path: Path, data: Dataset, objective: Any, **options: Any) -> Any:
    pair = ppgen.make_pair("cyclegan", data.spec, **options)
    return ppgen.fit(pair, data, objective, steps=2, batch_size=6, eager=True, out=tmp_path)


def test_errors_of_both_ways_are_measured_on_pairs_and_shown(tmp_path: Path) -> None:
    data = Dataset(PLANE, (X, S), (X, S), (X, S))
    run = fitted(tmp_path, data, Cycle(game=LeastSquares(hidden=(4,))), hidden=(4,))
    found = {one.name: one for one in run.evaluate(num_samples=4).measures}
    with torch.no_grad():
        there, back = (run.pair.translate(S) - X).norm(dim=1), (run.pair.translate_back(X) - S).norm(dim=1)
    assert found["translation_error"].value == pytest.approx(there.mean().item(), rel=1e-5)
    assert found["back_translation_error"].value == pytest.approx(back.mean().item(), rel=1e-5)
    assert found["translation_error"].standard_error == pytest.approx(there.std().item() / 6**0.5, rel=1e-5)
    assert f"{(X - X.mean(0)).norm(dim=1).mean():.3g} away" in found["translation_error"].meaning
    assert "squared_error" in found
    section = translations(run)
    assert section is not None
    assert len(section.figures) == 1
    for said in ("sources", "translations", "their targets", "sources, there and back"):
        assert said in str(section.figures[0].body)
    again = reconstructed_data(run)
    assert again is not None
    assert "G(F(x))" in again.figures[0].caption
    assert "Translations" in run.report().read_text()


def test_what_has_no_pairs_has_no_error(tmp_path: Path) -> None:
    x, s = X.repeat(5, 1), S.repeat(5, 1)
    run = fitted(tmp_path, translation_data(x, s, paired="none"), Cycle(game=LeastSquares(hidden=(4,))), hidden=(4,))
    assert not any("translation" in one.name for one in run.evaluate(num_samples=4).measures)
    section = translations(run)
    assert section is not None
    assert "their targets" not in str(section.figures[0].body)


def test_pictures_are_judged_by_two_convolutional_critics_and_a_run_is_loaded(tmp_path: Path) -> None:
    data = load_data("turned_digits", of="digits")
    game = NonSaturating(critic="conv", hidden=(2, 3))
    run = fitted(tmp_path, data, Cycle(game=game), network="conv", channels=(3, 4), hidden=(5,))
    assert {"critic/real", "critic/real_latents"} <= run.metrics[0].keys()
    again = ppgen.load(tmp_path)
    made = again.pair.translate(data.test[1][:3])
    torch.testing.assert_close(made, run.pair.translate(data.test[1][:3]))
    assert again.pair.arguments["spec"].source == data.spec.source


def spec(**change: Any) -> DataSpec:
    source = {"name": "other", "num_features": 4, "observation": "real", **change}
    return DataSpec("plane", 4, "real", source=DataSpec(**source), paired="none")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: CycleGAN(DataSpec("ring", 2, "real")), "data 'ring' are one set: load two, as 'affine_moons'"),
        (
            lambda: CycleGAN(DataSpec("digits", 2, "real", num_classes=3)),
            "data 'digits' are one set with labels of 3 classes: load two",
        ),
        (lambda: CycleGAN(spec(num_features=3)), "the size of 'other' is 3 where that of 'plane' is 4"),
        (lambda: CycleGAN(spec(observation="binary")), "the kind of 'other' is binary where that of 'plane' is real"),
        (lambda: CycleGAN(spec(image_shape=(2, 2))), r"the shape of 'other' is \(2, 2\) where that of 'plane' is None"),
        (lambda: CycleGAN(spec(), network="conv"), "needs pictures"),
        (lambda: CycleGAN(load_data("edges", of="digits").spec, network="conv", hidden=()), "in a code of the last"),
        (
            lambda: CycleGAN(load_data("edges", of="digits").spec, residual=True),
            "residual of CycleGAN adds a source .* output='sigmoid' and network MLP: it takes",
        ),
        (lambda: CycleGAN(PLANE).prepare(X), r"CycleGAN takes batches \(x, s\), .* got x alone"),
        (lambda: CycleGAN(PLANE).prepare(X, torch.zeros(6).long()), "got labels: give two sets of vectors"),
        (lambda: CycleGAN(PLANE).prepare(X, torch.zeros(6, 3)), r"sources of 2 numbers, and these are \(6, 3\)"),
        (
            lambda: CycleGAN(PLANE, output="tanh").prepare(X / 10, 5 + S),
            "a CycleGAN with output='tanh' makes numbers from -1 to 1",
        ),
    ],
)
def test_sets_that_are_not_two_of_a_kind_are_refused(make: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()
