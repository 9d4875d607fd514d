"""Estimators compared: planted mistakes are caught, right ones pass, and numbers are the known ones."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceGraph_ELBO
from torch import Tensor, nn

import ppgen
from ppgen import UsageError, compare, dataset_from, pair_from
from ppgen.comparison import ComparisonOptions
from ppgen.inference import ELBO, IWELBO, REINFORCE, VIMCO
from ppgen.models import LinearGaussian
from ppgen.objectives.objective import with_gradient_of
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import MODELS
from ppgen.training.options import TrainingOptions
from tests.discrete_doubles import Blend, TinyDeepSBN, TinySBN, exact_gradient, exact_value
from tests.doubles import Line, Shared
from tests.marks import thorough

COPIES = 400
"""Copies of one datum in a batch: the gradient of a draw is then a mean over so many independent ones."""


@dataclass(frozen=True, kw_only=True)
class TooLong(REINFORCE):
    """A gradient that is 2 percent too long, or so many times, in every parameter."""

    factor: float = 1.02

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        outcome = super().play(player, program, batch, state)
        return Outcome(
            with_gradient_of(outcome.loss, self.factor * outcome.loss), outcome.num_data, outcome.metrics, outcome.state
        )


def copies(pair: Any, num: int = COPIES) -> Batch:
    return (pair.datum.double().repeat(num, 1),)


def quick(pair: Any, objectives: Any, batch: Batch | None = None, **options: Any) -> ppgen.Comparison:
    options = {"draws": 128, "repeats": 32, "warmup": 1, "particles": 200, "eager": True} | options
    return compare(pair, copies(pair) if batch is None else batch, objectives, **options)


def tiny(name: str) -> Any:
    make = MODELS[name].tiny
    assert make is not None
    return make()


@pytest.mark.parametrize("pair", [TinySBN(), *thorough([TinyDeepSBN()])], ids=lambda pair: type(pair).__name__)
def test_a_gradient_two_percent_too_long_is_caught_and_the_right_one_passes(pair: Any) -> None:
    """The false-alarm rate is 1e-3 over all tests; the mistake stands 5 standard errors beyond what stands out."""
    objectives = {"right": REINFORCE(num_particles=4), "wrong": TooLong(num_particles=4)}
    found = quick(pair, objectives, copies(pair, 8 * COPIES), draws=64)
    right, wrong = found.points[0].objectives
    assert (right.verdict, wrong.verdict) == ("no bias seen", "biased")
    assert right.reference == wrong.reference == "exact"
    bias = wrong.whole.bias
    assert bias is not None
    assert abs(bias.along.value - 0.02) < bias.resolution < 0.02
    assert found.best == {"elbo": "right"}
    assert "Against the exact gradient, biased at a family-wise false-alarm rate of 0.001: wrong" in found.words()
    assert "Avoid here: wrong, which declares itself unbiased and is not." in found.words()


def test_the_bound_and_the_evidence_are_the_exact_ones() -> None:
    pair = TinySBN()
    found = quick(pair, [REINFORCE(num_particles=2), VIMCO(num_particles=3)]).points[0]
    mass, log_w = pair.atoms(pair.parameters_once())
    evidence = found.evidence
    assert evidence is not None
    assert (evidence.method, evidence.is_exact, evidence.standard_error) == ("enumerated", True, 0.0)
    assert evidence.value == pytest.approx((mass.log() + log_w).logsumexp(0).item())
    exact = [exact_value(pair, lambda log_w: log_w.mean(0), 1), exact_value(pair, IWELBO(num_particles=3).reduce, 3)]
    for one, value in zip(found.objectives, exact, strict=True):  # |z| < 4: 1 in 8,000 false alarms
        assert abs(one.bound.value - value.item()) < 4 * one.standard_error
    assert [one.bound_name for one in found.objectives] == ["elbo", "iwelbo(num_particles=3)"]


def test_the_mean_gradient_has_the_exact_ones_length() -> None:
    pair = TinySBN()
    exact = exact_gradient(pair, lambda log_w: log_w.mean(0), 1)
    found = quick(pair, [REINFORCE()], blocks=["prior", "slope"]).points[0].objectives[0]
    assert [block.name for block in found.blocks] == ["all", "prior", "slope"]
    for block in found.blocks[1:]:
        signal = block.snr.value * math.sqrt(block.variance.value)
        assert signal == pytest.approx(float(exact[block.name].norm()), rel=0.1)
    assert found.blocks[0].num_parameters == sum(p.numel() for p in pair.parameters())


def test_snr_variance_and_evidence_are_in_closed_form_on_the_linear_gaussian() -> None:
    """The ELBO's gradient by b is linear in the noise e: W'(x - W mu - c)/s^2 - mu - (I + W'W/s^2) S e / sqrt(K)."""
    torch.manual_seed(1)
    pair, x = (
        LinearGaussian(ppgen.DataSpec("tiny", 4, "real"), 2, guide="mean_field").double(),
        torch.randn(3, 4).double(),
    )
    with torch.no_grad():
        pair.guide_loc.add_(0.5)
        weight, mu = pair.weight, x @ pair.guide_weight.T + pair.guide_loc
        mean = ((x - mu @ weight.T - pair.loc) @ weight - mu).mean(0)
        slope = torch.eye(2).double() + weight.T @ weight
        num = 20
        variance = float(slope.square().sum()) / (num * 3)  # a mean over 3 data
        evidence = float(pair.log_evidence(x).mean())
    found = quick(pair, [ELBO(num_particles=num)], (x,), draws=256, blocks=["guide_loc"]).points[0]
    block = found.objectives[0].blocks[1]
    assert block.variance.low < variance < block.variance.high
    snr = float(mean.norm()) / math.sqrt(variance)
    assert block.snr.low < snr < block.snr.high
    assert block.snr.value == pytest.approx(snr, rel=0.1)
    assert found.evidence is not None
    assert found.evidence.method == "closed form"
    assert found.evidence.value == pytest.approx(evidence)
    assert "site 'z' is drawn from" in found.why_not_exact


class Laplacian(Blend):
    """Its reparameterized latent is not Gaussian: there is no quadrature of it."""

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            b = pyro.sample("b", dist.Bernoulli(logits=self.slope_b * x).to_event(1))
            loc = self.slope_y * x + self.jump_y * b
            y = pyro.sample("y", dist.Laplace(loc, self.log_scale_y.exp()).to_event(1))
            pyro.sample("c", dist.Bernoulli(logits=self.slope_c * y + self.offset_c).to_event(1))


@pytest.mark.thorough
def test_without_an_exact_gradient_others_are_held_against_the_unbiased_one_of_least_variance() -> None:
    pair = Laplacian()
    objectives = {
        "few": REINFORCE(),
        "many": REINFORCE(num_particles=16),
        "wrong": TooLong(num_particles=4, factor=1.1),
    }
    found = quick(pair, {**objectives, "alone": VIMCO(num_particles=2)}, copies(pair, 100), draws=512).points[0]
    assert {one.label: one.verdict for one in found.objectives} == {
        "few": "no bias seen",
        "many": "reference",
        "wrong": "biased",
        "alone": "not tested",
    }
    assert found.evidence is not None
    assert (found.evidence.method, found.evidence.num_particles) == ("bound", 200)
    assert "site 'y' is drawn from Laplace" in found.why_not_exact


@pytest.mark.thorough
def test_a_mixed_pair_is_held_against_states_and_a_quadrature() -> None:
    """|z| < 4 of the bound: 1 in 16,000 false alarms."""
    pair = Blend()
    objectives = {"sound": REINFORCE(num_particles=8), "wrong": TooLong(num_particles=8, factor=1.3)}
    found = quick(pair, objectives, copies(pair, 100), draws=512).points[0]
    assert {one.label: (one.verdict, one.reference) for one in found.objectives} == {
        "sound": ("no bias seen", "exact"),
        "wrong": ("biased", "exact"),
    }
    mass, log_w = pair.atoms(pair.parameters_once())
    evidence = found.evidence
    assert evidence is not None
    assert (evidence.method, evidence.is_exact) == ("quadrature", True)
    assert evidence.value == pytest.approx((mass.log() + log_w).logsumexp(0).item(), abs=1e-9)
    assert evidence.standard_error < 1e-9
    sound = found.objectives[0]
    assert abs(sound.bound.value - exact_value(pair, lambda log_w: log_w.mean(0), 1).item()) < 4 * sound.standard_error


def test_pyros_renyi_gradient_of_discrete_latents_is_found_biased_and_its_score_function_is_not() -> None:
    """RenyiELBO(alpha=0) gives a Bernoulli guide a gradient of exactly zero."""
    pair = TinySBN()
    objectives = [Trace_ELBO(), TraceGraph_ELBO(), RenyiELBO(alpha=0, num_particles=2, vectorize_particles=True)]
    found = quick(pair, objectives, copies(pair, 100), blocks=["model", "guide"]).points[0]
    assert [one.verdict for one in found.objectives] == ["no bias seen", "no bias seen", "biased"]
    guide = found.objectives[2].blocks[2]
    assert guide.bias is not None
    assert guide.bias.along.value == pytest.approx(-1.0)
    assert found.best["elbo"] in {"Trace_ELBO(num_particles=1)", "TraceGraph_ELBO(num_particles=1)"}
    assert "iwelbo(num_particles=2)" not in found.best


def test_the_pair_its_gradients_the_param_store_and_the_random_state_are_left_as_they_were() -> None:
    pair = TinySBN()
    pair.prior.grad = torch.ones(2, dtype=torch.float64)
    before, random = {n: p.clone() for n, p in pair.state_dict().items()}, torch.get_rng_state()
    store = dict(pyro.get_param_store())
    quick(pair, [REINFORCE(), TraceGraph_ELBO()], copies(pair, 2), draws=32, repeats=16)
    assert all(torch.equal(value, before[name]) for name, value in pair.state_dict().items())
    assert torch.equal(pair.prior.grad, torch.ones(2, dtype=torch.float64))
    assert torch.equal(torch.get_rng_state(), random)
    assert dict(pyro.get_param_store()) == store


def test_an_objectives_numbers_do_not_depend_on_which_others_there_are() -> None:
    pair = TinySBN()
    alone = quick(pair, [REINFORCE(num_particles=2)], copies(pair, 2), draws=32, repeats=16)
    both = [VIMCO(num_particles=2), REINFORCE(num_particles=2)]
    beside = quick(pair, both, copies(pair, 2), draws=32, repeats=16)
    one, other = alone.points[0].objectives[0], beside.points[0].objectives[1]
    assert (one.whole.variance, one.whole.snr, one.bound) == (other.whole.variance, other.whole.snr, other.bound)


@pytest.mark.thorough
def test_compiled_draws_are_the_eager_ones() -> None:
    pair, batch = LinearGaussian(ppgen.DataSpec("tiny", 4, "real"), 2), (torch.randn(3, 4),)
    eager, fast = (
        quick(pair, ["elbo"], batch, draws=32, repeats=16, eager=eager).points[0].objectives[0]
        for eager in (True, False)
    )
    assert (eager.compiled, fast.compiled) == (False, True)
    assert fast.whole.variance.value == pytest.approx(eager.whole.variance.value, rel=1e-4)
    assert fast.bound.value == pytest.approx(eager.bound.value, rel=1e-5)


def test_float64_is_an_option_and_the_pair_keeps_its_dtype() -> None:
    pair = TinySBN().float()
    found = quick(pair, [REINFORCE()], (pair.datum.repeat(20, 1),), double=True, draws=32, repeats=16)
    assert pair.prior.dtype == torch.float32
    assert found.points[0].objectives[0].verdict == "no bias seen"


def test_draws_are_chosen_for_a_precision_and_for_a_time() -> None:
    pair = TinySBN()
    coarse, fine = (
        quick(pair, [REINFORCE()], copies(pair, 2), precision=p).points[0].objectives[0] for p in (0.3, 0.1)
    )
    assert fine.draws > 3 * coarse.draws
    width = (fine.whole.variance.high - fine.whole.variance.value) / fine.whole.variance.value
    assert width < 0.2  # of the 0.1 that was asked for: it was judged by 32 draws
    short = quick(pair, [REINFORCE()], copies(pair, 2), seconds=0.01).points[0].objectives[0]
    assert short.draws == 32


def test_points_of_training_are_looked_at_and_the_pair_is_put_back() -> None:
    torch.manual_seed(2)
    pair, x = LinearGaussian(ppgen.DataSpec("tiny", 4, "real"), 2), torch.randn(200, 4)
    before = {n: p.clone() for n, p in pair.state_dict().items()}
    found = quick(
        pair,
        ["elbo", IWELBO(num_particles=3)],
        (x[:10],),
        at=["trained", "init", 5],
        data=dataset_from(x),
        training=TrainingOptions(steps=60, lr=0.05, eager=True),
        draws=32,
        repeats=16,
    )
    assert [(point.at, point.step) for point in found.points] == [("init", 0), (5, 5), ("trained", 60)]
    values = [point.objectives[0].bound.value for point in found.points]
    assert values[0] < values[1] < values[2]
    assert all(torch.equal(value, before[name]) for name, value in pair.state_dict().items())
    assert found.words().count("\n\n") == 2


def test_rows_and_json_hold_everything_and_json_can_be_written() -> None:
    pair = TinySBN()
    found = quick(pair, [REINFORCE(), VIMCO(num_particles=2)], copies(pair, 2), draws=32, repeats=16)
    rows = found.rows()
    assert len(rows) == 2 * len(found.points[0].objectives[0].blocks)
    assert {(row["objective"], row["block"]) for row in rows} >= {
        ("reinforce", "all"),
        ("vimco(num_particles=2)", "guide"),
    }
    written = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert written["best"] == found.best
    assert written["words"] == found.words()
    assert written["options"]["draws"] == 32
    assert found.num_tests == len(rows)


def test_a_pair_of_functions_is_compared_as_any_other() -> None:
    decoder = nn.Linear(1, 1)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(decoder(z[..., None])[..., 0], 1.0), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        loc = pyro.param("loc", torch.zeros(()))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc.expand(len(x)), 1.0))

    objectives = ["elbo", "stl", Trace_ELBO()]
    found = quick(pair_from(model, guide), objectives, (torch.randn(20, 1),), draws=32, repeats=16)
    assert [one.verdict for one in found.points[0].objectives].count("reference") == 1
    assert "biased" not in {one.verdict for one in found.points[0].objectives}


def test_players_gradients_are_added_up_and_what_is_of_no_known_bound_is_not_tested() -> None:
    pair = TinySBN()
    blocks = ["model", "guide"]
    found = quick(pair, ["wake_sleep", "mcem"], copies(pair, 200), draws=64, blocks=blocks).points[0]
    wake_sleep, mcem = found.objectives
    assert (mcem.bound_name, mcem.verdict) == (None, "not tested")
    model, guide = wake_sleep.blocks[1:]
    assert (model.verdict, guide.verdict) == ("no bias seen", "biased")  # the wake phase is the ELBO's


def test_an_energy_based_pair_has_no_evidence_and_its_objectives_no_test() -> None:
    pair, batch = tiny("rbm")
    found = quick(pair, ["cd", "pcd"], batch, draws=32, repeats=16).points[0]
    assert found.evidence is None
    assert {one.verdict for one in found.objectives} == {"not tested"}


def test_global_latents_are_compared_without_an_evidence_for_each_datum() -> None:
    found = quick(Shared(), ["elbo", "stl"], (torch.randn(4, 1).double(),), draws=32, repeats=16).points[0]
    assert found.evidence is None
    assert sorted(one.verdict for one in found.objectives) == ["no bias seen", "reference"]


def test_a_pair_without_a_density_is_refused() -> None:
    pair, batch = tiny("gan")
    with pytest.raises(UsageError, match="a comparison of estimators needs a density of x"):
        quick(pair, ["nonsaturating"], batch)


class Fragile(Line):
    """It breaks after so many calls of its model."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def model(self, x: Tensor) -> None:
        self.calls -= 1
        if self.calls < 0:
            raise RuntimeError("the file is closed.")
        super().model(x)


@pytest.mark.parametrize(
    ("pair", "objectives", "options", "message"),
    [
        (TinySBN(), [REINFORCE(), REINFORCE()], {}, "reinforce is listed twice"),
        (TinySBN(), [], {}, "expected objectives to compare, got none"),
        (TinySBN(), ["reinfroce"], {}, "did you mean 'reinforce'"),
        (TinySBN(), [3], {}, "pyro.infer.ELBO, got 3"),
        (TinySBN(), ["elbo"], {}, "site 'z' of the guide is drawn from Bernoulli"),
        (TinySBN(), ["reinforce"], {"blocks": ["gide"]}, "did you mean 'guide'"),
        (TinySBN(), ["reinforce"], {"drws": 3}, "did you mean 'draws'"),
        (TinySBN(), ["reinforce"], {"draws": 3}, "at least 32"),
        (TinySBN(), ["reinforce"], {"precision": 2.0}, "above 0 and below 1, got 2.0"),
        (TinySBN(), ["reinforce"], {"at": ["end"]}, r"'init' or 'trained', got \['end'\]"),
        (TinySBN(), ["reinforce"], {"at": ["init", "init"]}, "named twice"),
        (TinySBN(), ["reinforce"], {"comparison": ComparisonOptions()}, "or its options one by one, got both, draws, "),
        (TinySBN(), ["pyro.Trace_ELB"], {}, "did you mean 'Trace_ELBO'"),
        (TinySBN(), ["reinforce, 3"], {}, "expected objectives such as"),
        (TinySBN(), ["reinforce"], {"at": [10]}, "need data to train on"),
        (Fragile(1), ["elbo"], {}, "a comparison fails on this pair with RuntimeError: the file is closed;"),
        (Fragile(5), ["elbo"], {}, "elbo fails on this pair with RuntimeError: the file is closed;"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(
    pair: Any, objectives: Any, options: Any, message: str
) -> None:
    batch = (torch.ones(2, 1).double(),) if isinstance(pair, Line) else None
    with pytest.raises(UsageError, match=message):
        quick(pair, objectives, batch, **options)


def test_options_have_the_defaults_that_they_say() -> None:
    assert ComparisonOptions() == ComparisonOptions(draws=1000, at=("init",), false_alarm=1e-3, level=0.95)


def test_the_exact_gradient_as_an_objective_has_no_variance_and_no_bias() -> None:
    for pair in (TinySBN(), TinyDeepSBN()):
        found = quick(pair, ["enumerate", "reinforce"], copies(pair, 20), draws=32, repeats=16)
        one = found.points[0].objectives[0]
        assert one.verdict == "no bias seen"
        assert one.whole.variance.value == 0
        assert math.isinf(one.whole.snr.value)
        assert found.best == {"elbo": "enumerate"}
        assert "For elbo, enumerate has no variance." in found.words()


def test_words_say_what_was_not_seen_and_how_large_it_could_have_been() -> None:
    pair = TinySBN()
    found = quick(pair, [REINFORCE(num_particles=4)], copies(pair, 100), blocks=["model", "guide"])
    blocks = found.points[0].objectives[0].blocks
    shown = {block.name: f"{100 * block.bias.resolution:.2g}%" for block in blocks if block.bias is not None}
    words = found.words()
    assert words.startswith("As given, on 100 data, log p(x) is -1.14 nats per datum exactly (enumerated).")
    assert f"no bias was seen in reinforce(num_particles=4) ({shown['all']}; guide {shown['guide']});" in words
