"""On a GPU: graphs are steps, what is resumed has the same bits, and CPU data are brought to the pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import ppgen
from ppgen.diagnostics import QUESTIONS
from ppgen.draws import prior_samples
from ppgen.evaluation import evaluate
from ppgen.files.checkpoint import read_checkpoint
from ppgen.inference import ELBO
from ppgen.objectives.objective import Objective
from ppgen.registry import MODELS, OBJECTIVES
from ppgen.training.options import TrainingOptions
from ppgen.training.trainer import Trainer
from tests.tiny import OTHERS, tiny_pair
from tests.training.test_books import Breaks
from tests.training.test_optimizers import OPTIMIZERS
from tests.training.test_stages import StopAt

pytestmark = pytest.mark.gpu

PLACE = "cuda"
SLOW = {"calibration", "global_calibration", "reference"}


def takes(model: str, objective: Objective) -> bool:
    pair, data = tiny_pair(model)
    try:
        Trainer(pair, data, objective, TrainingOptions(batch_size=5, eager=True))
    except ppgen.UsageError:
        return False
    return True


def objective_of(name: str) -> Objective:
    tiny = OBJECTIVES[name].tiny
    assert tiny is not None
    objective: Objective = tiny()
    return objective


def a_model_for(objective: str) -> str:
    found: str = next(model for model in ("vae", *MODELS, *OTHERS) if takes(model, objective_of(objective)))
    return found


def an_objective_for(model: str) -> str:
    found: str = next(name for name in ("elbo", "vimco", "pcd", *OBJECTIVES) if takes(model, objective_of(name)))
    return found


def fitted(model: str, objective: str, out: Path | None = None, steps: int = 8, **options: Any) -> dict[str, Tensor]:
    pair, data = tiny_pair(model)
    settings: dict[str, Any] = {
        "batch_size": 5,
        "validate_every": 4,
        "schedule": "constant",
        "checkpoint_seconds": 0.0,
        **options,
    }
    run = ppgen.fit(pair, data, objective_of(objective), out=out, device=PLACE, steps=steps, **settings)
    return {name: value.detach().cpu() for name, value in run.pair.state_dict().items()}


CASES = [*((None, name) for name in OBJECTIVES), *((name, None) for name in MODELS)]


@pytest.mark.parametrize(("model", "objective"), CASES, ids=[str(m or o) for m, o in CASES])
def test_a_run_that_is_resumed_ends_with_the_same_bits(
    model: str | None, objective: str | None, tmp_path: Path
) -> None:
    objective = objective or an_objective_for(model or "")
    model = model or a_model_for(objective)
    whole = fitted(model, objective)
    fitted(model, objective, tmp_path, callbacks=[StopAt(5)])
    resumed = fitted(model, objective, tmp_path, resume=True)
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_is_captured_moves_as_eager_steps_do_and_is_resumed(optimizer: str, tmp_path: Path) -> None:
    whole, eager = (fitted("gan", "minimax", optimizer=optimizer, eager=eager) for eager in (False, True))
    fitted("gan", "minimax", tmp_path, steps=4, optimizer=optimizer)
    resumed = fitted("gan", "minimax", tmp_path, resume=True, optimizer=optimizer)
    for name, value in whole.items():
        torch.testing.assert_close(eager[name], value, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("model", "objective"), [("vae", "elbo"), ("rbm", "pcd"), ("gan", "minimax"), ("sbn", "vimco")]
)
def test_a_graph_draws_the_random_numbers_of_its_steps_one_by_one_and_eager(
    model: str, objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, eager = fitted(model, objective), fitted(model, objective, eager=True)
    monkeypatch.setattr("ppgen.training.device_books._MOST_GRAPHS", 0)
    monkeypatch.setattr("ppgen.training.device_books.DeviceBooks._capture", lambda books, kind, moves: None)
    apart = fitted(model, objective)
    for name, value in graph.items():
        torch.testing.assert_close(apart[name], value, rtol=1e-4, atol=1e-5)
        if model not in {"sbn", "rbm"}:  # where a unit may fall to the other side by rounding
            torch.testing.assert_close(eager[name], value, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("model", list(MODELS))
def test_a_pair_on_the_gpu_takes_data_on_the_cpu_everywhere(model: str, tmp_path: Path) -> None:
    pair, data = tiny_pair(model)
    objective = an_objective_for(model)
    run = ppgen.fit(pair, data, objective_of(objective), out=tmp_path, device=PLACE, steps=3, batch_size=5, eager=True)
    batch = data.rows("train", slice(6))
    assert next(pair.parameters()).is_cuda
    ppgen.check_pair(pair, batch)
    evaluate(pair, data, particles=20, num_data=6)
    quick = [question.name for question in QUESTIONS if question.name not in SLOW]
    ppgen.diagnose(pair, data, num_particles=40, num_data=6, questions=quick)
    if pair.normalised and pair.has_weights and model not in {"gmm", "lda"}:  # which have latents of all data
        assert ppgen.log_weights(pair, batch, 3).is_cuda
    ppgen.to_inference_data(pair, batch, num_samples=5)
    prior_samples(pair, batch, 3)
    run.evaluate(particles=20, num_data=6)


def test_estimators_of_a_pair_on_the_gpu_are_compared_on_data_on_the_cpu() -> None:
    pair, data = tiny_pair("vae")
    pair.to(PLACE)
    objectives = [objective_of(name) for name in ("elbo", "dreg")]
    ppgen.compare(pair, data.rows("train", slice(6)), objectives, draws=32)


def test_a_step_that_is_not_finite_is_named_and_the_checkpoint_before_it_stays(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "batch_size": 2,
        "steps": 9,
        "validate_every": 4,
        "checkpoint_seconds": 0.0,
        "device": PLACE,
    }
    with pytest.raises(ppgen.UsageError, match=r"stopped at step 5: the value of site 'z' of the guide is not finite"):
        ppgen.fit(Breaks(), torch.arange(6.0), ELBO(), out=tmp_path, **options)
    assert read_checkpoint(tmp_path / "checkpoint.safetensors")[1]["turn"] == 4


SHIFT = torch.ones(3)


def model(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
        pyro.sample("x", dist.Normal(z[..., None] + SHIFT, 1.0).to_event(1), obs=x)


def guide(x: Tensor) -> None:
    loc = pyro.param("loc", torch.zeros(()))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc.expand(len(x)), 1.0))


def test_functions_that_hold_tensors_on_the_cpu_train_there_or_are_refused() -> None:
    x = torch.randn(10, 3)
    with pytest.raises(ppgen.UsageError, match=r"tensors that stay on the CPU \(test_gpu.py:\d+, `.*SHIFT.*`\)"):
        ppgen.fit(ppgen.pair_from(model, guide), x, ELBO(), device=PLACE, steps=2)
    with pytest.warns(UserWarning, match="it is trained on the CPU"):
        run = ppgen.fit(ppgen.pair_from(model, guide), x, ELBO(), steps=2, eager=True)
    assert not next(run.pair.parameters()).is_cuda


def test_gradients_have_their_parameters_strides() -> None:
    pair, data = tiny_pair("gan")
    trainer = Trainer(
        pair.to(PLACE), data.to(torch.device(PLACE)), objective_of("minimax"), TrainingOptions(batch_size=5)
    )
    for _ in range(4):
        trainer.take_turn()
    trainer.settle()
    assert all(p.grad is None or p.grad.stride() == p.stride() for p in nn.ModuleList([pair]).parameters())
