"""A pair on a device that is no CPU, and data on the CPU: nothing is left on the wrong one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyro
import pytest
import torch
from torch import Tensor

import ppgen
from ppgen.data import Dataset
from ppgen.draws.samples import prior_samples, reconstructions
from ppgen.evaluation import evaluate
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.pairs.places import brought_to, place_of
from ppgen.pairs.tracing import Program
from ppgen.registry import MODELS, OBJECTIVES
from ppgen.training.learner import Learner
from tests.marks import sampled
from tests.second_device import CUDA, SecondDevice, moved
from tests.tiny import OTHERS, tiny_pair


@pytest.fixture
def second_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    make = torch.tensor

    def tensor(data: Any, *, device: Any = None, **options: Any) -> Tensor:
        return make(data, **options).to(device) if device is not None else make(data, **options)

    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch, "tensor", tensor)
    torch._C._ensureCUDADeviceGuardSet()  # a guard that does nothing, as fake tensors use it
    with SecondDevice():  # type: ignore[no-untyped-call]
        yield


def a_pair(model: str) -> tuple[Pair, Dataset]:
    """The tiny pair of a model, on the second device, and data on the CPU."""
    pair, data = tiny_pair(model, copies=3)
    return moved(pair), data


def drawn(pair: Pair, data: Dataset) -> None:
    batch = data.rows("train", slice(4))
    assert prior_samples(pair, batch, 3).x.device == CUDA
    assert reconstructions(pair, batch).x.device == CUDA


def evaluated(pair: Pair, data: Dataset) -> None:
    if pair.normalised:
        evaluate(pair, data, particles=5, num_data=3)


@pytest.mark.parametrize("use", [drawn, evaluated], ids=lambda use: use.__name__)
@pytest.mark.parametrize("model", sampled(MODELS, 6))
@pytest.mark.usefixtures("second_device")
def test_data_are_brought_to_the_pair(model: str, use: Callable[[Pair, Dataset], None]) -> None:
    pair, data = a_pair(model)
    assert place_of(pair) == CUDA
    use(pair, data)


@pytest.mark.usefixtures("second_device")
def test_weights_draws_for_arviz_and_a_diagnosis_are_made_where_the_pair_is() -> None:
    pair, data = a_pair("vae")
    batch = data.rows("train", slice(4))
    assert ppgen.log_weights(pair, batch, 3).device == CUDA
    ppgen.to_inference_data(pair, batch, num_samples=5)
    (found,) = ppgen.diagnose(pair, data, num_particles=150, num_data=6, questions=["importance"]).findings
    assert found.status != "unknown"


PAIRS = ("vae", "sbn", "rbm", "gan", "bigan", "dbn", "hopfield", "infogan", "lapgan", "pix2pix")
"""One of them, or of the others, is taken by every objective."""


@pytest.mark.parametrize("objective", sampled(OBJECTIVES, 3))
@pytest.mark.usefixtures("second_device")
def test_the_loss_of_an_objective_is_where_the_pair_is(objective: str) -> None:
    made: Objective = OBJECTIVES[objective].tiny()  # type: ignore[misc]
    for pair, data in map(a_pair, (*PAIRS, *OTHERS, "factor_analysis", "lda", "dp_mixture")):
        pair.data_size = 15
        batch = brought_to(pair, data.rows("train", slice(15)))  # all of them, as Gibbs takes them
        try:
            made.check(Program(pair.model, pair.guide), batch)
            played = made.stages(pair)[-1].objective
            learner = Learner(pair, moved(played.parameters(pair, batch)), 15)
            with isolated(), pyro.validation_enabled(False):
                state = played.at(0).initial_state(learner.program, batch)
                outcome = played.at(0).play(played.players()[0].name, learner.program, batch, state)
        except ppgen.UsageError:
            continue
        assert outcome.loss.device == CUDA
        assert all(value.device == CUDA for value in (*outcome.state.values(), *outcome.metrics.values()))
        return
    pytest.fail("no pair takes it")
