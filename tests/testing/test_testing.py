"""The checks of pairs catch what they are for: each is shown pairs that break its rule, and little else."""

from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn

import ppgen
from ppgen.draws import reconstructions
from ppgen.pairs.rows import take_rows
from ppgen.pairs.tracing import Batch
from ppgen.testing import OBJECTIVE_CHECKS, PAIR_CHECKS, CheckFailed, NotApplicable, Report, Result, check_pair
from tests.broken_pairs import (
    MUTANTS,
    BatchStatistics,
    BehindPyrosBack,
    Cut,
    DoublePrecision,
    DrawnInTurn,
    FixedSize,
    ForgottenSite,
    Hidden,
    HiddenInAList,
    InfiniteGradient,
    LooksAtValues,
    NoParticles,
    NoPriorDraws,
    NotANumber,
    NotANumberDrawn,
    NotATensor,
    NotSaved,
    OtherRandomness,
    ParticleStatistics,
    ScaledTwice,
    SharedDraws,
    SharedNoise,
    SilentBroadcast,
    SinglePrecision,
    SometimesMore,
    Toy,
    Traitor,
    Unscaled,
    Unused,
    Uphill,
    WrongLikelihood,
    WrongSize,
    data,
)


def broken(report: Report) -> set[str]:
    return {result.check for result in report.broken}


@pytest.fixture
def without_slow_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [check.name for check in PAIR_CHECKS.values() if check.slow]:
        monkeypatch.delitem(PAIR_CHECKS, name)


@pytest.mark.usefixtures("without_slow_checks")
def test_a_healthy_pair_breaks_nothing() -> None:
    """But the rule of entropies, which counts states, and x is real: its pair is in tests/models/autoregressive."""
    results = check_pair(DrawnInTurn(), data()).results
    assert {result.check for result in results if result.verdict != "held"} == {"check_entropy_of_draws"}


@pytest.mark.usefixtures("without_slow_checks")
@pytest.mark.parametrize(
    ("name", "options"), [("vae", {}), ("vae", {"network": "conv"}), ("iwae", {}), ("cvae", {})], ids=str
)
def test_a_registered_pair_of_real_size_breaks_nothing(name: str, options: dict[str, Any]) -> None:
    dataset = ppgen.load_data("digits", labels=name == "cvae")
    report = check_pair(
        ppgen.make_pair(name, dataset.spec, **options), take_rows(dataset.draw(dataset.valid), slice(20))
    )
    assert report.ok, str(report)


@pytest.mark.usefixtures("without_slow_checks")
@pytest.mark.parametrize(("mutant", "expected"), MUTANTS, ids=[mutant.__name__ for mutant, _ in MUTANTS])
def test_a_broken_pair_is_caught_by_its_check(mutant: type[Toy], expected: set[str]) -> None:
    report = check_pair(mutant(), data())
    assert broken(report) == expected, str(report)
    assert all(result.message and result.where and result.advice for result in report.broken)


def test_every_check_of_a_pair_is_shown_a_broken_one() -> None:
    elsewhere = {"check_entropy_of_draws"}  # tests/models/autoregressive/test_orders.py
    caught: set[str] = elsewhere.union(*(expected for _, expected in MUTANTS))
    assert caught == {check.name for check in PAIR_CHECKS.values() if not check.slow}


def test_the_page_of_the_checks_lists_every_rule() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "checks.md").read_text(encoding="utf-8")
    for check in [*PAIR_CHECKS.values(), *OBJECTIVE_CHECKS.values()]:
        assert f"| `{check.name}` | {check.rule} |" in page


def failure(check: str, pair: Any, batch: Batch | None = None) -> CheckFailed:
    with pytest.raises(CheckFailed) as caught:
        PAIR_CHECKS[check].function(pair, data() if batch is None else batch)
    return caught.value


def reason(check: str, pair: Any, batch: Batch | None = None) -> NotApplicable:
    with pytest.raises(NotApplicable) as caught:
        PAIR_CHECKS[check].function(pair, data() if batch is None else batch)
    return caught.value


@pytest.mark.parametrize(
    ("check", "mutant", "where", "message", "advice"),
    [
        ("check_runs", WrongSize, "broken_pairs.py:", "RuntimeError", "mend that line"),
        ("check_runs", NoParticles, "torch.cat", "under a plate of 3 particles", "z.shape"),
        ("check_structure_is_fixed", SometimesMore, "site 'extra'", "two runs of the model", "torch.where"),
        ("check_sites_match", ForgottenSite, "site 'z'", "missing in the guide", "pyro.sample('z'"),
        ("check_shapes_fit_plates", SilentBroadcast, "site 'x'", "(6, 1)", "(N,) against (N, 1)"),
        ("check_support", WrongLikelihood, "site 'x'", "the data leave the support", "likelihood"),
        ("check_log_weights", NotANumber, "log-weights", "site 'x' of the model", "softplus"),
        ("check_log_weights", NotANumberDrawn, "log-weights", "value of site 'z' of the guide", "softplus"),
        ("check_same_seed", OtherRandomness, "site 'z' of the guide", "one seed", "pyro.sample"),
        ("check_batch_sizes", FixedSize, "x.reshape(NUM_DATA, 3)", "runs on 6 data, and on 1 raises", "len(x)"),
        ("check_batch_independence", BatchStatistics, "site 'z' of the guide", "the cause is the data", "its own row"),
        ("check_particle_independence", ParticleStatistics, "site 'x' of the model", "particle 0", "(K, B, ...)"),
        ("check_gradients", Unused, "parameter 'forgotten'", "depends on it", "detach()"),
        ("check_gradients", Cut, "parameter 'decoder.weight'", "depends on it", "detach()"),
        ("check_gradients", InfiniteGradient, "parameter 'variance'", "not finite", "square root"),
        ("check_no_hidden_parameters", Hidden, "pyro.param 'stray'", "pair.parameters() lacks it", "PyroParam"),
        ("check_no_hidden_parameters", HiddenInAList, "attribute 'layers'", "(3,", "nn.ModuleList"),
        ("check_subsampling_scale", Unscaled, "plate 'data'", "expected 4", "self.data_plate(x)"),
        ("check_subsampling_scale", ScaledTwice, "log p + log q", "two halves", "poutine.scale"),
        ("check_precisions", SinglePrecision, "decoder(z)", "torch.float64 raises", "x.new_zeros"),
        ("check_precisions", DoublePrecision, "site 'x' of the model", "it has torch.float64", "x.new_zeros"),
        ("check_round_trip", NotSaved, "the state dict", "decoder.bias", "every parameter"),
        ("check_round_trip", NotATensor, "state '_extra_state'", "dict", "register_buffer"),
        ("check_loss_falls", Uphill, "the loss", "after", "a gradient that is cut"),
        ("check_stock_svi", BehindPyrosBack, "SVI", "moved no parameter", "as attributes"),
        ("check_prior_samples", NoPriorDraws, "broken_pairs.py", "no sampler", "mend"),
        ("check_posterior_samples", SharedDraws, "site 'z' of the guide", "plate 'particles'", "pyro.sample"),
        ("check_posterior_samples", SharedNoise, "site 'z' of the guide", "plate 'data'", "pyro.sample"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_failure_says_what_came_where_and_what_to_do(
    check: str, mutant: type[Toy], where: str, message: str, advice: str
) -> None:
    error = failure(check, mutant())
    assert where in error.where
    assert message in error.message
    assert advice in error.advice
    assert str(error) == f"{error.where}: {error.message}: {error.advice}."


@pytest.mark.usefixtures("graphs_as_they_are")
def test_a_step_that_looks_whether_it_is_traced_is_caught() -> None:
    assert "compiled and eager differ" in failure("check_compiled_step", Traitor()).message


def test_a_pair_that_cannot_be_traced_is_no_failure_and_its_line_is_named() -> None:
    error = reason("check_compiled_step", LooksAtValues())
    assert "trains eagerly" in error.message
    assert "broken_pairs.py:" in error.where
    assert "the line to be named" in error.where


def test_the_rules_of_other_data_do_not_apply_to_one_datum() -> None:
    one = (torch.randn(1, 3),)
    for check in ("check_batch_sizes", "check_batch_independence", "check_subsampling_scale"):
        assert "one datum" in reason(check, Toy(), one).message


def test_the_scale_does_not_apply_to_a_pair_that_knows_no_data_size() -> None:
    assert "size of its data set" in reason("check_subsampling_scale", Toy(None)).message


def test_what_rests_on_a_broken_rule_is_not_judged() -> None:
    report = check_pair(WrongSize(), data())
    assert {result.verdict for result in report.results[1:]} == {"not applicable"}
    assert "check_runs" in report.results[1].message


def model(x: Tensor) -> None:
    scale = pyro.param("scale", x.new_ones(3), constraint=dist.constraints.positive)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(3), x.new_ones(3)).to_event(1))
        pyro.sample("x", dist.Normal(z, scale).to_event(1), obs=x)


def guide(x: Tensor) -> None:
    slope = pyro.param("slope", x.new_ones(3))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(slope * x, 1.0).to_event(1))


@pytest.mark.usefixtures("without_slow_checks")
def test_a_pair_of_functions_keeps_the_rules_and_the_param_store_is_left_alone() -> None:
    pyro.param("scale", torch.full((3,), 2.0), constraint=dist.constraints.positive)
    before = pyro.get_param_store().get_state()
    pair = ppgen.pair_from(model, guide)
    report = check_pair(pair, data())
    assert report.ok, str(report)
    assert pyro.get_param_store().get_state()["params"].keys() == before["params"].keys()
    assert torch.equal(pyro.param("scale"), torch.full((3,), 2.0))
    assert hasattr(pyro.param("scale"), "unconstrained")


@pytest.mark.usefixtures("without_slow_checks")
def test_parts_of_a_batch_are_not_given_to_an_autoguide_of_that_batch() -> None:
    report = check_pair(ppgen.pair_from(model, AutoNormal(model)), data())
    assert report.ok, str(report)
    verdicts = {result.check: result.verdict for result in report.results}
    assert verdicts["check_batch_sizes"] == verdicts["check_batch_independence"] == "not applicable"


class Plain(nn.Module):
    """A module that is no Pair, with batch normalisation (in ``eval()`` a datum's own) and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 3))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(3), x.new_ones(3)).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(x), 1.0).to_event(1))


@pytest.mark.usefixtures("without_slow_checks")
@pytest.mark.parametrize("make", [Toy, Plain])
def test_the_checks_leave_pair_batch_and_random_numbers_as_they_were(make: type[nn.Module]) -> None:
    pair, batch = make(), data()
    for parameter in pair.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: (value, value.clone()) for name, value in pair.state_dict(keep_vars=True).items()}
    modes, x, random_state = [m.training for m in pair.modules()], batch[0].clone(), torch.get_rng_state()
    check_pair(pair, batch)
    for name, value in pair.state_dict(keep_vars=True).items():
        same, old = before[name]
        assert value is same
        assert torch.equal(value, old)
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in pair.parameters() if p.grad is not None)
    assert [m.training for m in pair.modules()] == modes
    assert torch.equal(batch[0], x)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not list(pyro.get_param_store().keys())


@pytest.mark.parametrize("batch", [torch.zeros(3, 3), {"x": 1.0}, (torch.zeros(0, 3),)])
def test_what_is_no_batch_is_refused_with_a_sentence(batch: Any) -> None:
    with pytest.raises(ppgen.UsageError, match="expected a batch"):
        check_pair(Toy(), batch)


@pytest.mark.parametrize(
    "call",
    [
        lambda pair, x: ppgen.log_weights(pair, x, 2),
        lambda pair, x: ppgen.to_inference_data(pair, x, num_samples=2),
        lambda pair, x: ppgen.compare(pair, x, ["elbo"]),
        reconstructions,
    ],
)
def test_a_tensor_alone_is_no_batch_of_as_many_arguments_as_it_has_rows(call: Any) -> None:
    with pytest.raises(ppgen.UsageError, match=r"got Tensor of shape \(4, 3\): write \(x,\)"):
        call(Toy(), torch.zeros(4, 3))


def test_what_is_no_pair_is_refused_with_a_sentence() -> None:
    with pytest.raises(ppgen.UsageError, match="expected a pair"):
        check_pair(nn.Linear(1, 1), data())


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (["held"] * 20, "20 rules hold."),
        (["held"] * 18 + ["not applicable"], "18 rules hold, 1 says nothing of it."),
        (["held", "broken", "not applicable", "not applicable"], "1 rule holds, 1 is broken, 2 say nothing of it."),
    ],
)
def test_a_report_says_in_a_line_how_many_rules_hold(verdicts: list[Any], said: str) -> None:
    assert Report(tuple(Result("check_it", "it is so", verdict) for verdict in verdicts)).summary == said


@pytest.mark.usefixtures("without_slow_checks")
def test_a_report_prints_a_line_for_each_rule_and_a_line_of_advice_where_it_is_broken() -> None:
    report = check_pair(Unused(), data())
    lines = str(report).splitlines()
    assert not report.ok
    reasons = sum(result.verdict == "not applicable" for result in report.results)
    assert len(lines) == len(report.results) + 1 + reasons
    assert "parameter 'forgotten'" in str(report)
