"""Pyro's own objectives in ``fit``: they train as they do in ``SVI``, or are refused in a sentence."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import (
    SVI,
    JitTrace_ELBO,
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)
from torch import Tensor, nn

import ppgen
from ppgen.factory import as_objective, make_objective, objective_config
from ppgen.inference import ELBO
from ppgen.objectives.pyros import Pyros
from tests.discrete_doubles import TinySBN

N = 12
X = torch.randn(N, 3, generator=torch.Generator().manual_seed(1))
EAGER: dict[str, Any] = {"eager": True, "lr": 1e-2, "batch_size": N, "schedule": "constant"}


class Linear(ppgen.Pair):
    """x = Wz + noise, with an affine guide; the plate knows N, so that a batch is scaled."""

    def __init__(self) -> None:
        super().__init__(N)
        self.decoder, self.encoder = nn.Linear(2, 3), nn.Linear(3, 2)
        with torch.no_grad():
            for index, p in enumerate(self.parameters()):
                p.copy_(torch.linspace(-0.5, 0.5, p.numel()).reshape(p.shape) + 0.1 * index)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.encoder(x), 0.5).to_event(1))


def parameters(pair: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in pair.parameters()])


def test_it_trains_as_in_svi() -> None:
    """One step by plain gradients: both are minus the rate times the gradient of the loss, ours per datum."""
    ours, theirs = Linear(), Linear()
    before = parameters(ours)
    ppgen.fit(ours, X, Trace_ELBO(), steps=1, optimizer="SGD", **EAGER)
    sgd = pyro.optim.PyroOptim(torch.optim.SGD, {"lr": 1e-2 / N})
    svi = SVI(theirs.model, theirs.guide, sgd, Trace_ELBO(num_particles=2000, vectorize_particles=True))
    svi.step(X)
    expected, moved = parameters(theirs) - before, parameters(ours) - before
    assert float(torch.cosine_similarity(expected, moved, dim=0)) > 0.8  # one draw of each datum against 2,000


@pytest.mark.parametrize(
    "elbo", [Trace_ELBO(), TraceGraph_ELBO(), TraceMeanField_ELBO(), TraceEnum_ELBO(strict_enumeration_warning=False)]
)
def test_it_moves_by_the_very_gradient_of_our_own(elbo: Any) -> None:
    """Of the same draws: the pathwise gradient, but for a mean field's KL, which is exact."""
    ours, theirs = (ppgen.fit(Linear(), X, one, steps=3, **EAGER).pair for one in (ELBO(), elbo))
    tolerance = 0.05 if isinstance(elbo, TraceMeanField_ELBO) else 1e-4
    assert torch.allclose(parameters(ours), parameters(theirs), atol=tolerance)


def test_the_bound_is_per_datum_and_validated() -> None:
    data = ppgen.data.as_dataset(X, valid=X[:5])
    run, own = (
        ppgen.fit(Linear(), data, one, steps=2, eager=True, batch_size=4, validate_every=2, lr=1e-9)
        for one in (Trace_ELBO(num_particles=500, vectorize_particles=True), ELBO(num_particles=500))
    )
    for line, other in zip(run.metrics, own.metrics, strict=True):
        assert line["bound"] == pytest.approx(other["bound"], abs=0.2)  # 500 draws of each of 4 data or more


def test_that_it_is_eager_is_said_once() -> None:
    with pytest.warns(UserWarning, match=r"trains eagerly, because pyro\.Trace_ELBO\(\) is Pyro's own") as said:
        ppgen.fit(Linear(), X, Trace_ELBO(), steps=3, batch_size=N)
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ppgen.fit(Linear(), X, Trace_ELBO(), steps=1, **EAGER)


def test_a_run_records_it_and_makes_it_again(tmp_path: Path) -> None:
    elbo = RenyiELBO(alpha=0.5, num_particles=3)
    run = ppgen.fit(Linear(), X, elbo, steps=2, out=tmp_path, **EAGER)
    assert run.config["objective"]["name"] == "pyro.RenyiELBO"
    assert run.config["objective"]["options"]["alpha"] == 0.5
    assert elbo.max_plate_nesting == float("inf")  # what is found out stays in a copy
    loaded = ppgen.load(tmp_path, pair=Linear(), data=X)
    assert objective_config(loaded.objective) == objective_config(run.objective)
    more = ppgen.fit(Linear(), X, "pyro.RenyiELBO", steps=2, **EAGER)
    assert repr(more.objective) == "pyro.RenyiELBO()"


def test_what_gives_several_losses_has_no_bound_and_trains() -> None:
    pair, rows = TinySBN(), torch.eye(4, dtype=torch.float64)[:, :3]
    before = parameters(pair)
    elbo = ReweightedWakeSleep(num_particles=2, vectorize_particles=False)
    run = ppgen.fit(pair, rows, elbo, steps=2, eager=True, batch_size=4)
    assert not run.objective.is_bound
    assert "loss" in run.metrics[-1]
    assert not torch.equal(before, parameters(pair))


@pytest.mark.parametrize(
    ("objective", "sentence"),
    [
        (Trace_ELBO, r"got the class Trace_ELBO: make an instance, Trace_ELBO\(\)"),
        (ELBO, r"got the class ELBO: make an instance, ELBO\(\)"),
        (3, r"or a pyro\.infer\.ELBO, got 3"),
        ("elbow", "got 'elbow': did you mean 'elbo'"),
        ("pyro.Trace_ELB", "pyro.infer has no ELBO 'Trace_ELB': did you mean 'Trace_ELBO'"),
        (
            JitTrace_ELBO(),
            "JitTrace_ELBO keeps the parameters of its first step, and would train none",
        ),
    ],
    ids=["a class of Pyro's", "a class", "a number", "a name", "a name of Pyro's", "a traced one"],
)
def test_what_is_no_objective_is_refused_in_a_sentence(objective: Any, sentence: str) -> None:
    with pytest.raises(ppgen.UsageError, match=sentence):
        ppgen.fit(Linear(), X, objective, steps=1, **EAGER)


def test_what_a_pair_is_not_made_for_is_refused_in_a_sentence() -> None:
    with pytest.raises(ppgen.UsageError, match=r"cannot train this pair, and raises .*: .*; `ppgen.check_pair"):
        ppgen.fit(TinySBN(), torch.eye(4, dtype=torch.float64)[:, :3], TraceMeanField_ELBO(), steps=1, eager=True)
    energy = ppgen.models.RBM(ppgen.DataSpec("bits", 3, "binary"), 2)
    with pytest.raises(ppgen.UsageError, match=r"pyro\.Trace_ELBO\(\) needs a normalised model"):
        ppgen.fit(energy, X.sign().clamp_min(0), Trace_ELBO(), steps=1, eager=True)


def test_it_is_one_objective_by_name_and_by_instance() -> None:
    objective = make_objective("pyro.Trace_ELBO", num_particles=2)
    assert isinstance(objective, Pyros)
    assert objective.is_bound
    assert objective_config(objective) == objective_config(as_objective(Trace_ELBO(num_particles=2)))
