"""The restricted Boltzmann machine against sums over all of its states, for every visible layer."""

import math
import re
from typing import Any

import pytest
import torch
from pyro import poutine
from scipy import stats
from torch import Tensor

import ppgen
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.models import RBM
from ppgen.pairs.parameters import isolated
from tests.machines import COUNT, DISCRETE, FALSE_ALARM, KINDS, Machine, bernoulli, every_hidden, gaussian

DRAWS = 20_000


@pytest.fixture(params=KINDS)
def machine(request: pytest.FixtureRequest) -> Machine:
    return KINDS[request.param]()


@pytest.fixture(params=DISCRETE)
def enumerable(request: pytest.FixtureRequest) -> Machine:
    return DISCRETE[request.param]()


def some_data(machine: Machine) -> Tensor:
    """Five data that the machine can produce."""
    return machine.states[:5] if len(machine.states) else torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]


def by_hand(pair: RBM, v: Tensor, h: Tensor) -> float:
    """log p~(v, h) of one datum and one hidden state, term by term."""
    weight, bias, hidden_bias = (p.detach() for p in (pair.weight, pair.visible_bias, pair.hidden_bias))
    kind = type(pair.layer).__name__
    phi, measure, size = v, 0.0, 1.0
    if kind == "CategoricalLayer":
        phi = torch.tensor([float(x == k / 2) for x in v for k in range(3)], dtype=torch.float64)
    if kind == "CountsLayer":
        size = COUNT
        measure = math.log(math.factorial(COUNT)) - sum(math.log(math.factorial(int(n))) for n in v)
    if kind == "GaussianLayer":
        variance = math.exp(2 * pair.layer.log_scale.item())  # type: ignore[operator]
        phi, measure = v / variance, -0.5 * float(v) ** 2 / variance
    pairs = sum(float(phi[i] * weight[i, j] * h[j]) for i in range(len(phi)) for j in range(len(h)))
    return pairs + float(phi @ bias) + size * float(h @ hidden_bias) + measure


def log_joint(pair: RBM, v: Tensor, h: Tensor) -> Tensor:
    """What the model says of one datum and one hidden state."""
    with isolated(), poutine.trace() as tracer, poutine.condition(data={"h": h[None]}):
        pair.model(v[None])
    return torch.as_tensor(tracer.trace.log_prob_sum()).detach()


def test_the_model_states_the_energy_of_the_formula(machine: Machine) -> None:
    for v in some_data(machine):
        for h in every_hidden(3):
            assert float(log_joint(machine.pair, v, h)) == pytest.approx(by_hand(machine.pair, v, h), abs=1e-12)


def test_the_free_energy_sums_the_hidden_units_out(machine: Machine) -> None:
    for v in some_data(machine):
        joint = torch.tensor([by_hand(machine.pair, v, h) for h in every_hidden(3)], dtype=torch.float64)
        assert float(machine.pair.free_energy(v).detach()) == pytest.approx(-float(joint.logsumexp(0)), abs=1e-12)


def test_the_guide_is_the_exact_posterior(machine: Machine) -> None:
    for v in some_data(machine):
        joint = torch.tensor([by_hand(machine.pair, v, h) for h in every_hidden(3)], dtype=torch.float64)
        with isolated(), poutine.trace() as tracer:
            machine.pair.guide(v[None])
        guide: Any = tracer.trace.nodes["h"]["fn"]
        torch.testing.assert_close(guide.log_prob(every_hidden(3)).detach(), joint.log_softmax(0))


def test_every_log_weight_is_minus_the_free_energy(machine: Machine) -> None:
    v = some_data(machine)
    log_w = ppgen.log_weights(machine.pair, (v,), num_particles=20)
    torch.testing.assert_close(log_w, -machine.pair.free_energy(v).expand(20, -1), rtol=0, atol=1e-12)


def test_log_z_is_the_sum_over_all_data(enumerable: Machine) -> None:
    expected = (-enumerable.pair.free_energy(enumerable.states)).logsumexp(0)
    torch.testing.assert_close(enumerable.pair.exact_log_z(), expected.detach())


def test_log_z_of_a_gaussian_machine_is_the_integral() -> None:
    pair, grid = gaussian().pair, torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    expected = torch.trapezoid((-pair.free_energy(grid[:, None])).exp(), grid).log()
    torch.testing.assert_close(pair.exact_log_z(), expected.detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("hidden", [2, 6])
def test_log_z_is_the_same_whichever_side_is_smaller(hidden: int) -> None:
    machine = bernoulli(hidden)
    expected = (-machine.pair.free_energy(machine.states)).logsumexp(0)
    torch.testing.assert_close(machine.pair.exact_log_z(), expected.detach())


@pytest.mark.parametrize("b", [0.3, 1.0])
def test_a_sweep_of_a_gaussian_machine_leaves_the_distribution_invariant(b: float) -> None:
    pair, grid = gaussian().pair, torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    density = pair.log_tempered(grid[:, None], b).detach().softmax(0)
    v = grid[torch.multinomial(density, DRAWS, replacement=True)][:, None]
    after = (pair.sweep(v) if b == 1 else pair.tempered_sweep(v, b)).squeeze(1)
    cumulative = density.cumsum(0)[torch.searchsorted(grid, after).clamp_max(len(grid) - 1)]
    assert stats.kstest(cumulative.numpy(), "uniform").pvalue > FALSE_ALARM


def test_the_base_distribution_of_a_gaussian_machine_is_normalised_by_its_log_z() -> None:
    pair, grid = gaussian().pair, torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    log_z = torch.trapezoid(pair.log_tempered(grid[:, None], 0.0).exp(), grid).log()
    torch.testing.assert_close(pair.base_log_z().detach(), log_z.detach(), rtol=1e-9, atol=1e-9)


def test_the_path_ends_at_the_model(machine: Machine) -> None:
    v = some_data(machine)
    torch.testing.assert_close(machine.pair.log_tempered(v, 1.0), -machine.pair.free_energy(v))


def test_one_temperature_may_be_given_for_each_chain(machine: Machine) -> None:
    v, b = some_data(machine), torch.linspace(0, 1, 5, dtype=torch.float64)
    each = torch.stack([machine.pair.log_tempered(v[i], float(b[i])) for i in range(5)])
    torch.testing.assert_close(machine.pair.log_tempered(v, b), each)
    assert machine.pair.tempered_sweep(v.expand(3, 5, -1), b).shape == (3, *v.shape)


def test_counts_keep_their_number_of_words_whatever_it_is() -> None:
    pair, lengths = KINDS["counts"]().pair, torch.tensor([1.0, 7.0, 50.0], dtype=torch.float64)
    v = torch.zeros(3, 3, dtype=torch.float64).index_put((torch.arange(3), torch.zeros(3, dtype=torch.long)), lengths)
    torch.testing.assert_close(pair.sweep(v).sum(1), lengths)


def test_a_datum_is_remade_at_its_expectation_given_the_means_of_its_hidden_units(enumerable: Machine) -> None:
    """E[v | eta] by a sum over all v of exp(phi(v) eta) m(v), with eta = b + W sigmoid(W' phi(x) + n c)."""
    pair, x = enumerable.pair, enumerable.states[:4]
    phi, size = pair.layer.statistics, pair.layer.size(x)
    eta = pair.visible_bias + (phi(x) @ pair.weight + size * pair.hidden_bias).sigmoid() @ pair.weight.T  # (4, units)
    log_p = eta @ phi(enumerable.states).T + pair.layer.log_measure(enumerable.states)  # (4, S)
    drawn = pair.remake_data((x,))
    torch.testing.assert_close(drawn.mean, (log_p.softmax(-1) @ enumerable.states).detach())
    assert bool((drawn.x[:, None] == enumerable.states).all(-1).any(-1).all())  # draws are data


def test_a_real_datum_is_remade_at_eta() -> None:
    pair, x = gaussian().pair, torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
    hidden = (pair.layer.statistics(x) @ pair.weight + pair.hidden_bias).sigmoid()
    torch.testing.assert_close(pair.remake_data((x,)).mean, (pair.visible_bias + hidden @ pair.weight.T).detach())


def test_biases_start_at_the_training_mean() -> None:
    mean = torch.tensor([0.25, 0.5, 0.0])
    pair = RBM(DataSpec("bits", 3, "binary", mean=mean), 2)
    torch.testing.assert_close(pair.visible_bias.detach().sigmoid(), torch.tensor([0.25, 0.5, 0.001]))
    torch.testing.assert_close(pair.base_bias, pair.visible_bias.detach())


def test_parameters_have_the_documented_shapes() -> None:
    pair = ppgen.make_pair("rbm", DataSpec("grey", 4, "quantised", levels=3), hidden=5)
    shapes = {name: tuple(p.shape) for name, p in pair.named_parameters()}
    assert shapes == {"weight": (12, 5), "visible_bias": (12,), "hidden_bias": (5,)}


BINARY, REAL, COUNTS = (DataSpec("data", 3, kind) for kind in ("binary", "real", "counts"))


@pytest.mark.parametrize(
    ("spec", "options", "sentence"),
    [
        (REAL, {"visible": "bernoulli"}, "a bernoulli layer needs binary data, and data 'data' are real"),
        (BINARY, {"visible": "counts"}, "a counts layer needs counts data"),
        (COUNTS, {"visible": "gaussian"}, "leave visible out for a counts layer"),
        (BINARY, {"visible": "bernouli"}, "did you mean 'bernoulli'"),
        (BINARY, {"length": 4}, "length is that of documents"),
        (COUNTS, {"length": 0}, "length must be"),
        (BINARY, {"hidden": 0}, "hidden must be"),
    ],
)
def test_a_layer_that_does_not_fit_is_refused(spec: DataSpec, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        RBM(spec, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        ("bernoulli", 2.0, "a bernoulli layer must hold 0 or 1, got 2 in row 0, column 0"),
        ("categorical", 0.3, "a categorical layer must hold k / 2"),
        ("counts", 0.5, "a counts layer must hold counts 0, 1, 2, ..., got 0.5"),
        ("counts", 0.0, "documents of at least one word"),
    ],
)
def test_data_of_another_kind_are_refused(kind: str, value: float, sentence: str) -> None:
    machine = KINDS[kind]()
    x = torch.full_like(machine.states[:2], value)
    with pytest.raises(UsageError, match=sentence):
        ppgen.log_weights(machine.pair, (x,), num_particles=1)


def test_enumeration_beyond_reach_is_refused() -> None:
    with pytest.raises(UsageError, match=r"2\*\*23 states, and at most 2\*\*22"):
        RBM(DataSpec("bits", 23, "binary"), 24).exact_log_z()


def test_draws_of_counts_need_a_length() -> None:
    with pytest.raises(UsageError, match="length=<words in a document>"):
        RBM(COUNTS, 2).base_sample(3)


def test_draws_of_counts_have_the_length_of_the_data() -> None:
    pair = RBM(DataSpec("words", 3, "counts", length=7), 2)
    assert pair.base_sample(4).sum(1).tolist() == [7.0] * 4
    assert RBM(DataSpec("words", 3, "counts", length=7), 2, length=5).base_sample(1).sum() == 5


@pytest.mark.parametrize("model", ["rbm", "conv_rbm"])
def test_real_data_that_are_not_standardised_have_their_scales_told(model: str) -> None:
    torch.manual_seed(0)
    x = torch.tensor([100.0, -7.0]).repeat(8) + torch.tensor([30.0, 0.5]).repeat(8) * torch.randn(50, 16)
    options: dict[str, Any] = {"hidden": 3} if model == "rbm" else {"filters": 2, "kernel": 3}
    spec = DataSpec("amounts", 16, "real", image_shape=(4, 4), num_data=50)
    data = ppgen.data.Dataset(spec, (x,))
    scales = re.escape(f"standard deviations of {float(x.std(0, correction=0).min()):.3g} to ")
    with pytest.warns(UserWarning, match=f"data 'amounts' have {scales}.*and means of .*standardise the data"):
        ppgen.fit(ppgen.make_pair(model, spec, **options), data, "cd", steps=1, eager=True, progress=False)


@pytest.mark.parametrize("scale", [0.01, 20.0])
def test_a_scale_far_from_one_either_way_is_told(scale: float) -> None:
    pair = RBM(DataSpec("real", 3, "real"), 2)
    x = torch.linspace(-1, 1, 9)[:, None].expand(-1, 3)
    assert not pair.advice_on(x)
    assert "a Gaussian layer begins at scales of 1" in pair.advice_on(scale * x)
    assert not pair.advice_on(torch.ones(9, 3))  # constants have no scale
    assert not bernoulli().pair.advice_on(torch.zeros(5, 4))
