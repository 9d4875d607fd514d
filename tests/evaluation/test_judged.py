"""What a classifier says of samples."""

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.errors import UsageError
from ppgen.evaluation import Judge, evaluate, judge
from ppgen.evaluation.judged import division
from ppgen.models import VAE, Classifier
from ppgen.pairs.pair import Pair
from tests.implicit import Push

_TWO = DataSpec("two", 2, "real", num_classes=2)


def by_the_first() -> Judge:
    """Of two numbers: class 1 where the first is positive, and its feature the first alone; wrong on 5 percent."""
    pair: Any = Classifier(_TWO, 1, hidden=(), activation=nn.Identity)
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.zero_()
        next(m for m in pair.network.modules() if isinstance(m, nn.Linear)).weight.copy_(torch.tensor([[1.0, 0.0]]))
        pair.last.weight.copy_(torch.tensor([[-1.0], [1.0]]))
    return Judge(pair, _TWO, 0.05, 0.01, 100)


class Told(Pair):
    """x is the label's sign, but for a share of draws."""

    implicit = True
    num_classes = 2

    def __init__(self, wrong: int) -> None:
        super().__init__()
        self.wrong, self.scale = wrong, nn.Parameter(torch.tensor(1.0))

    def model(self, x: Tensor, y: Tensor) -> None:
        sign = 2.0 * y - 1
        sign[: self.wrong] = -sign[: self.wrong]
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(0.0, 0.1).expand([2]).to_event(1))
            pyro.sample("x", dist.Delta(self.scale * (sign[:, None] + z), event_dim=1), obs=x)

    def guide(self, x: Tensor, y: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(0.0, 0.1).expand([2]).to_event(1))


def data(spec: DataSpec, num: int = 60) -> Dataset:
    """Every number normal about 1 or -1, with labels where there are classes."""
    y = torch.arange(num) % 2
    x = (2.0 * y - 1)[:, None] + 0.1 * torch.randn(num, spec.num_features)
    part: Any = (x, y) if spec.num_classes else (x,)
    return Dataset(spec, part, part, part)


def test_colours_are_classified_each_by_itself_and_read_as_one_number() -> None:
    of, x = by_the_first(), torch.tensor([[1.0, 9.0, -1.0, 9.0, 1.0, -9.0], [-1.0, 0.0, -1.0, 0.0, 1.0, 0.0]])
    assert of.classes(x, 3).tolist() == [0b101, 0b001]
    assert of.features(x, 3).tolist() == [[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]]
    colours = DataSpec("colours", 6, "real", image_shape=(3, 1, 2))
    assert (of.num_parts(colours), of.num_parts(_TWO)) == (3, 1)


def test_samples_are_counted_among_all_kinds() -> None:
    found = division(torch.tensor([0, 0, 0, 5]), 8)
    assert found.num_covered == 2
    assert found.reverse_kl == pytest.approx(math.log(8) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25))


def test_an_evaluation_counts_the_kinds_that_samples_of_three_colours_show() -> None:
    """Draws about zero have each sign with probability a half, colour by colour: all eight of 400."""
    colours = DataSpec("colours", 6, "real", image_shape=(3, 1, 2))
    given = data(colours)
    found = {m.name: m for m in evaluate(Push(colours), given, num_samples=400, classifier=by_the_first()).measures}
    assert found["classes_covered"].value == 8
    assert "wrong on 5.00 ± 1.00 percent of 100 held-out data" in found["classes_covered"].meaning
    assert "60 of them, show 2" in found["classes_covered"].meaning  # all colours of a datum have one sign
    assert 0 < found["class_reverse_kl"].value < 0.1
    assert "data have 1.39" in found["class_reverse_kl"].meaning  # log 8 - log 2
    assert found["frechet_distance"].value > 1
    assert "label_accuracy" not in found


def test_a_pair_that_is_told_labels_is_held_against_them() -> None:
    """15 of 60 are wrong."""
    found = evaluate(Told(15), data(_TWO), num_samples=60, classifier=by_the_first()).to_json()
    assert found["label_accuracy"] == 0.75
    assert found["label_accuracy_standard_error"] == pytest.approx(math.sqrt(0.75 * 0.25 / 60))
    right = evaluate(Told(0), data(_TWO), num_samples=120, classifier=by_the_first()).to_json()
    assert right["label_accuracy"] == 1.0
    assert right["frechet_distance"] < 0.02


def test_a_judge_is_a_trained_pair_and_its_error_on_held_out_data() -> None:
    given = data(_TWO)
    wrong = tuple(part.clone() for part in given.split("test"))
    wrong[1][:6] = 1 - wrong[1][:6]
    found = judge(by_the_first().pair, Dataset(_TWO, given.train, given.valid, wrong))
    assert found.error == pytest.approx(0.1)
    assert (found.num_data, found.num_classes) == (60, 2)
    assert found.standard_error == pytest.approx(math.sqrt(0.09 / 59))


def test_a_run_of_a_classifier_judges_a_run() -> None:
    pyro.set_rng_seed(0)
    given = data(_TWO)
    told = ppgen.fit(Classifier(given.spec, 4, hidden=()), given, "elbo", steps=30, lr=0.1, eager=True)
    bare = data(DataSpec("two", 2, "real"))
    run = ppgen.fit(Push(bare.spec), bare, "mmd", steps=1, batch_size=20, eager=True)
    found = run.evaluate(num_samples=50, classifier=told)
    assert {"classes_covered", "frechet_distance"} <= found.to_json().keys()


def test_what_cannot_judge_is_refused() -> None:
    with pytest.raises(UsageError, match=r"VAE has no classify\(x\): train one"):
        judge(VAE(_TWO, 2, hidden=(3,)), data(_TWO))
    with pytest.raises(UsageError, match="Classifier was trained on data without labels"):
        judge(by_the_first().pair, data(DataSpec("bare", 2, "real")))
    for spec, why in (
        (DataSpec("bits", 2, "binary"), "'two', which are real, and data 'bits' are binary"),
        (DataSpec("five", 5, "real"), "data of 2 numbers, and data 'five' have 5"),
    ):
        with pytest.raises(UsageError, match=why):
            by_the_first().num_parts(spec)
