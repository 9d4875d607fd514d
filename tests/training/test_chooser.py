"""A training that chooses among estimators: by variance and time, as often as it says, and to the same bits again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen import DataSpec, make_objective
from ppgen.errors import UsageError
from ppgen.files.checkpoint import read_checkpoint
from ppgen.inference import ELBO, IWELBO, VIMCO, Auto
from ppgen.inference.discrete.reinforce import REINFORCE
from ppgen.models import SBN, VAE
from ppgen.training.chooser import Chooser, least

DATA = (torch.rand(60, 5, generator=torch.Generator().manual_seed(0)) < 0.4).float()
GROWING = make_objective("stl", num_particles="stepwise((0, 5), (1, 2))")
QUICK: dict[str, Any] = {"batch_size": 20, "seed": 0, "eager": True, "progress": False}


def sbn() -> SBN:
    torch.manual_seed(0)
    return SBN(DataSpec("bits", 5, "binary", num_data=60), layers=(3,))


def chooser(spreads: list[list[float]], naps: list[float], mean: float = 0.1) -> Chooser:
    """A chooser between estimators whose gradients have these standard deviations, in turn, and last so long."""
    objective = Auto(estimators=("elbo", "stl"), draws=64, every=10)
    looks = [0, 0]  # at the batch of now: one that makes a graph, the first that is timed, and one a measurement

    def gradient_of(number: int, ahead: int) -> Mapping[str, Tensor]:
        looks[number] += ahead == 0
        time.sleep(naps[number])
        return {"pair.w": mean + spreads[number][max(0, looks[number] - 3)] * torch.randn(20)}

    return Chooser(objective, gradient_of, seed=0)


def test_the_least_root_mean_square_times_seconds_is_played() -> None:
    """Sleeps of 1 and 3 ms: three times the seconds, at a hundredth of the variance, and then at a quarter of it, which
    is half of the length."""
    found = chooser([[1.0, 1.0], [0.1, 0.5]], naps=[1e-3, 3e-3], mean=0.01)
    found.look(0)
    assert found.news is not None
    assert found.news.variance["elbo"] == pytest.approx(20, rel=0.3)
    assert found.news.variance["stl"] == pytest.approx(0.2, rel=0.3)
    assert found.fixed == {"chosen": 1}
    seconds = list(found.seconds)
    found.look(5)  # not due
    assert found.fixed == {"chosen": 1}
    found.look(10)
    assert found.fixed == {"chosen": 0}
    assert found.seconds == seconds  # measured once


def test_where_the_signal_is_most_of_the_square_the_quicker_is_played() -> None:
    """A quarter of the variance, of which there is a 200th of the square, is not worth twenty times the seconds."""
    found = chooser([[0.2], [0.1]], naps=[1e-4, 2e-3], mean=3.0)
    found.look(0)
    assert found.fixed == {"chosen": 0}


def test_what_saves_too_little_is_not_taken() -> None:
    assert least([1.0, 0.85, 0.95], now=0, hysteresis=0.2) == 0
    assert least([1.0, 0.75, 0.95], now=0, hysteresis=0.2) == 1
    assert least([0.0, 0.0], now=1, hysteresis=0.0) == 1


def test_measurements_leave_training_as_it_is() -> None:
    """With one estimator ahead of the other from the first, the run is that of the first alone."""
    alone, chosen = sbn(), sbn()
    ppgen.fit(alone, DATA, REINFORCE(num_particles=2), steps=7, **QUICK)
    auto = Auto(estimators=(REINFORCE(num_particles=2), REINFORCE(num_particles=3)), hysteresis=0.999, every=3)
    run = ppgen.fit(chosen, DATA, auto, steps=7, **QUICK)
    assert [line["step"] for line in run.metrics if line["split"] == "choice"] == [0, 3, 6]
    for name, value in alone.state_dict().items():
        assert torch.equal(value, chosen.state_dict()[name]), name


def test_a_run_that_goes_on_chooses_alike_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run knows the seconds of a busy machine; the one that goes on keeps them."""
    auto = Auto(estimators=(REINFORCE(num_particles=2), "disarm"), every=2, draws=4, hysteresis=0.0)
    whole = ppgen.fit(sbn(), DATA, auto, steps=9, out=tmp_path / "whole", **QUICK)
    played = [line["played"] for line in whole.metrics if line["split"] == "choice"]
    _, facts = read_checkpoint(tmp_path / "whole" / "checkpoint.safetensors")
    costs = facts["costs"]

    with monkeypatch.context() as patched:
        patched.setattr(Chooser, "_timed", lambda self, numbers: costs)
        ppgen.fit(sbn(), DATA, auto, steps=9, out=tmp_path / "part", callbacks=[_Stop()], **QUICK)
    again = ppgen.fit(sbn(), DATA, auto, steps=9, out=tmp_path / "part", resume=True, **QUICK)
    assert [line["played"] for line in again.metrics if line["split"] == "choice"] == played
    for name, value in whole.pair.state_dict().items():
        assert torch.equal(value, again.pair.state_dict()[name]), name


class _Stop(ppgen.Callback):
    def after_step(self, training: Any) -> None:
        if training.step == 5:
            training.stop()


@pytest.mark.parametrize(
    ("estimators", "options", "sentence"),
    [
        ((ELBO(), IWELBO(num_particles=4)), {}, r"estimators of one bound, got elbo of elbo and iwelbo.* of iwelbo"),
        ((VIMCO(num_particles=2), VIMCO(num_particles=4)), {}, r"of one bound, got vimco\(num_particles=2\) of iwelbo"),
        (("elbo", "map"), {}, r"map is that of none: drop it"),
        (("elbo", "dais"), {}, r"dais is that of none: drop it"),  # its bound is of other weights
        (("elbo", "sivi"), {}, r"sivi is that of none: drop it"),
        (("elbo", "elbo"), {}, r"Auto has elbo twice"),
        (("reinforce", "gumbel_softmax"), {}, r"gumbel_softmax is biased, which no variance shows"),
        (("elbo",), {}, r"two or more estimators"),
        (("elbo", "hinge"), {}, r"two or more estimators"),
        (("elbo", "stl"), {"draws": 1}, r"draws of Auto must be a whole number of at least 2"),
        (
            ("elbo", make_objective("elbo", num_particles="stepwise((0, 5), (1, 2))")),
            {},
            r"has a schedule for num_particles",
        ),
    ],
)
def test_bad_input_gets_one_sentence(estimators: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Auto(estimators=estimators, **options)


def test_a_pair_that_one_of_them_cannot_train_is_refused() -> None:
    pair = VAE(DataSpec("bits", 5, "binary"), latent_dim=2, hidden=(4,))
    with pytest.raises(UsageError, match=r"Auto holds disarm, and .*DisARM"):
        ppgen.fit(pair, DATA, Auto(estimators=("elbo", "disarm")), steps=1, **QUICK)
