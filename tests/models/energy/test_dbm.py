"""The deep Boltzmann machine against sums over all of its states."""

import itertools
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

import ppgen
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import PCD, MeanFieldPCD
from ppgen.machine.graphs import graph_of
from ppgen.models import DBM, RBM
from ppgen.models.energy import dbm
from ppgen.testing.sandbox import program_of
from tests.machines import FALSE_ALARM, p_value

VISIBLE, DRAWS = 4, 20_000


def product(units: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=units)), dtype=torch.float64)


def machine(hidden: tuple[int, ...], scale: float = 0.8) -> DBM:
    torch.manual_seed(3)
    spec = DataSpec("bits", VISIBLE, "binary", mean=torch.tensor([0.2, 0.5, 0.7, 0.4]))
    pair = DBM(spec, hidden, tolerance=1e-12, rounds=1000).double()
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.copy_(scale * torch.randn_like(parameter))
    return pair


@pytest.fixture(params=[(3, 2), (2, 3), (2, 2, 3)], ids=str)
def pair(request: pytest.FixtureRequest) -> DBM:
    return machine(request.param)


@pytest.fixture
def bounded(pair: DBM, monkeypatch: pytest.MonkeyPatch) -> DBM:
    """The same machine where nothing is summed out."""
    monkeypatch.setattr(dbm, "SUMMED", 0)
    return machine(pair.hidden)


def layers(pair: DBM) -> tuple[Tensor, ...]:
    """Every state of v, h1, h2, ..., (S, units) each; v changes slowest."""
    units: tuple[Tensor, ...] = product(sum(pair.sizes)).split(pair.sizes, -1)
    return units


def joint(pair: DBM) -> Tensor:
    """log p~(v, h) of every state, by the formula, (S,)."""
    units = layers(pair)
    total = units[0] @ pair.visible_bias
    for k in range(1, len(units)):
        weight, bias = getattr(pair, f"weight_{k}"), getattr(pair, f"hidden_bias_{k}")
        total = total + (units[k - 1] @ weight * units[k]).sum(-1) + units[k] @ bias
    return total


def free_energies(pair: DBM) -> Tensor:
    """F(v) of every v, by the sum over h."""
    return -joint(pair).view(2**VISIBLE, -1).logsumexp(1)


def states(pair: DBM) -> Tensor:
    return product(pair.sizes[0] + pair.sizes[2])


def number(s: Tensor) -> Tensor:
    """Which state of :func:`product` each is."""
    return (s @ 2.0 ** torch.arange(s.shape[1] - 1, -1, -1, dtype=s.dtype)).long()


def test_the_factor_is_the_energy_of_the_formula(pair: DBM) -> None:
    v, *h = layers(pair)
    given = {f"h_{k}": value for k, value in enumerate(h, start=1)}
    trace = pyro.poutine.trace(pyro.poutine.condition(pair.model, data=given)).get_trace(v)
    trace.compute_log_prob()
    scored = sum(trace.nodes[name]["log_prob"] for name in (*given, "energy"))
    torch.testing.assert_close(scored, joint(pair))


def test_a_chains_state_has_the_odd_layers_summed_out(pair: DBM) -> None:
    v, _, h2, *_ = layers(pair)
    which, found = number(torch.cat([v, h2], -1)), joint(pair).exp()
    expected = torch.zeros(len(states(pair)), dtype=found.dtype).index_add(0, which, found.detach())
    torch.testing.assert_close(pair.log_tempered(states(pair), 1.0).detach().exp(), expected)


def test_the_free_energy_sums_all_hidden_units_out(pair: DBM) -> None:
    torch.testing.assert_close(pair.free_energy(product(VISIBLE)), free_energies(pair))


def test_every_log_weight_is_minus_the_free_energy_where_it_is_summed(pair: DBM) -> None:
    v = product(VISIBLE)
    log_w = ppgen.log_weights(pair, (v,), num_particles=5)
    torch.testing.assert_close(log_w, -free_energies(pair).detach().expand(5, -1))


def test_log_z_is_the_sum_over_all_states_by_either_half(pair: DBM) -> None:
    expected = joint(pair).detach().logsumexp(0)
    torch.testing.assert_close(pair.exact_log_z(), expected)
    torch.testing.assert_close(pair.log_tempered(states(pair), 1.0).detach().logsumexp(0), expected)


def test_annealing_ends_at_log_z(pair: DBM) -> None:
    found = ppgen.log_z(pair, num_temperatures=100, num_chains=400)
    assert found.value == pytest.approx(float(pair.exact_log_z()), abs=5 * found.standard_error)


def test_a_chain_starts_at_a_datum_and_a_draw_of_its_posterior(pair: DBM) -> None:
    torch.manual_seed(2)
    v = product(VISIBLE)[5]
    s = pair.state_at(v.expand(DRAWS, -1))
    assert torch.equal(pair.visible(s), v.expand(DRAWS, -1))
    h2 = product(pair.sizes[2])
    p = pair.log_tempered(torch.cat([v.expand(len(h2), -1), h2], -1), 1.0).detach().softmax(0)
    assert p_value(number(s[:, VISIBLE:]), p) > FALSE_ALARM


def test_with_all_states_in_the_place_of_chains_the_loss_has_the_gradient_of_the_likelihood(pair: DBM) -> None:
    leaves, rows = list(pair.parameters()), [1, 4, 4, 7]
    exact = free_energies(pair)[rows].mean() + joint(pair).logsumexp(0)
    log_p = pair.log_tempered(states(pair), 1.0)
    loss = pair.free_energy(product(VISIBLE)[rows]).mean() + log_p.detach().softmax(0) @ log_p
    expected, found = (parameters_to_vector(torch.autograd.grad(value, leaves)) for value in (exact, loss))
    torch.testing.assert_close(found, expected)


def test_the_mean_field_is_a_bound_from_above(bounded: DBM) -> None:
    assert not bounded.free_energy_is_exact
    gap = bounded.free_energy(product(VISIBLE)).detach() - free_energies(bounded).detach()
    assert bool((gap >= 0).all())
    assert bool((gap < 0.5).all())


def test_the_mean_field_is_a_fixed_point(bounded: DBM) -> None:
    v = product(VISIBLE)
    m = (v, *bounded.mean_field(v))
    for k in range(1, len(m)):
        logits = m[k - 1] @ getattr(bounded, f"weight_{k}") + getattr(bounded, f"hidden_bias_{k}")
        if k + 1 < len(m):
            logits = logits + m[k + 1] @ getattr(bounded, f"weight_{k + 1}").T
        torch.testing.assert_close(m[k], logits.detach().sigmoid(), rtol=0, atol=1e-11)


def test_the_fixed_point_of_a_datum_does_not_depend_on_the_others() -> None:
    pair, v = machine((3, 2), scale=2.0), product(VISIBLE)
    pair.tolerance = 0.05  # data settle after different numbers of rounds
    together = torch.cat(pair.mean_field(v), -1)
    alone = torch.cat([torch.cat(pair.mean_field(one[None]), -1) for one in v])
    torch.testing.assert_close(together, alone)


def test_further_rounds_never_loosen_the_bound(pair: DBM) -> None:
    v, found = product(VISIBLE), []
    for rounds in (1, 2, 4, 8, 100):
        pair.rounds = rounds
        found.append(pair.mean_field_free_energy(v).detach())
    for looser, tighter in itertools.pairwise(found):
        assert bool((tighter <= looser + 1e-12).all())


def test_the_bounds_slope_is_that_of_its_minimum(bounded: DBM) -> None:
    """The means are held fixed in the gradient, and move in the difference: at a minimum that is no difference."""
    v, step = product(VISIBLE)[[2, 9]], 1e-5
    (slope,) = torch.autograd.grad(bounded.free_energy(v).sum(), [bounded.weight_1])
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            bounded.weight_1[0, 1] += sign * step
            values.append(float(bounded.free_energy(v).sum()))
            bounded.weight_1[0, 1] -= sign * step
    assert float(slope[0, 1]) == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-7)


def test_the_structured_guide_is_between_the_mean_field_and_the_truth(bounded: DBM) -> None:
    v, h2 = product(VISIBLE), product(bounded.sizes[2])
    log_q = bounded.posterior(v[:, None]).log_prob(h2)  # (16, 2^H2)
    beside = torch.cat([v[:, None].expand(-1, len(h2), -1), h2.expand(len(v), -1, -1)], -1)
    structured = (log_q.exp() * (bounded.log_tempered(beside, 1.0) - log_q)).sum(-1).detach()
    assert bool((structured <= -free_energies(bounded).detach()).all())
    assert bool((structured >= -bounded.free_energy(v).detach()).all())
    log_w = ppgen.log_weights(bounded, (v,), num_particles=4000)
    error = log_w.std(0) / 4000**0.5
    assert bool(((log_w.mean(0) - structured).abs() < 5 * error).all())


def test_a_step_with_the_mean_field_becomes_one_graph(bounded: DBM) -> None:
    def bound(v: Tensor) -> Tensor:
        return bounded.mean_field_free_energy(v).detach()

    v = product(VISIBLE)
    torch.testing.assert_close(graph_of(bound, v[:5])(v[5:10]), bound(v[5:10]))


def test_mean_field_pcd_is_pcd_where_the_free_energy_is_the_mean_fields(bounded: DBM) -> None:
    check_alike(bounded)


def test_mean_field_pcd_is_pcd_where_hidden_units_are_independent() -> None:
    check_alike(RBM(DataSpec("bits", VISIBLE, "binary"), 3).double())


def check_alike(pair: Any) -> None:
    v, found = product(VISIBLE)[:6], []
    for objective in (PCD(num_chains=5), MeanFieldPCD(num_chains=5)):
        torch.manual_seed(4)
        program = program_of(pair)
        outcome = objective.play("all", program, (v,), objective.initial_state(program, (v,)))
        assert torch.equal(objective.chains(outcome.state), outcome.state["chains"])  # type: ignore[arg-type]
        found.append(parameters_to_vector(torch.autograd.grad(outcome.loss, list(pair.parameters()))))
    assert torch.equal(*found)


def test_it_learns_layer_by_layer_and_then_as_a_whole(tmp_path: Path) -> None:
    torch.manual_seed(5)
    data = ppgen.dataset_from((torch.rand(60, 1) < 0.5).float().repeat(1, 8))
    pair = DBM(data.spec, (6, 5, 4))
    run = ppgen.fit(pair, data, "greedy, mean_field_pcd", steps=6, batch_size=30, seed=0, eager=True, out=tmp_path)
    stages = dict.fromkeys(line["stage"] for line in run.metrics)
    assert list(stages) == ["Greedy 1", "Greedy 2", "Greedy 3", "MeanFieldPCD"]
    loaded: Any = ppgen.load(tmp_path, data=data).pair
    for name, value in pair.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert loaded.machines[0].weight is loaded.weight_1


def test_settled_machines_are_averaged_in_the_whole() -> None:
    """Halves of the machines' energies, whose copies agree, are the energy of the whole."""
    pair = machine((2, 3, 2))
    pair.weight_2.data.mul_(2)  # as the machine between learns it
    machines: Any = pair.machines
    v, h1, h2, h3 = layers(pair)
    below: Tensor = 2 * (v @ machines[0].weight * h1).sum(-1) + 2 * v @ machines[0].visible_bias
    between = (h1 @ machines[1].weight * h2).sum(-1)
    above = 2 * (h2 @ machines[2].weight * h3).sum(-1) + 2 * h3 @ machines[2].hidden_bias
    inner = 2 * h1 @ pair.hidden_bias_1 + 2 * h2 @ pair.hidden_bias_2  # the same bias in the machine below and above
    expected = (below + between + above + inner).detach() / 2
    for number in range(3):
        pair.settle(number)
        pair._bias_from_below(number + 1).copy_(pair.own_bias(number + 1))
    torch.testing.assert_close(joint(pair).detach(), expected)


def test_upper_filters_are_products_of_weights(pair: DBM) -> None:
    whole = pair.weight_1.detach()
    for k, found in enumerate(pair.upper_filters(), start=2):
        whole = whole @ getattr(pair, f"weight_{k}").detach()
        torch.testing.assert_close(found, whole)
    assert len(pair.upper_filters()) == len(pair.hidden) - 1


@pytest.mark.parametrize("hidden", [(3,), (3, 2, 2, 2)])
def test_other_numbers_of_layers_are_refused(hidden: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="hidden"):
        DBM(DataSpec("bits", 4, "binary"), hidden)


def test_data_that_are_not_binary_are_refused() -> None:
    with pytest.raises(UsageError, match="bernoulli layer needs binary data"):
        DBM(DataSpec("numbers", 3, "real"), (3, 2))


def test_more_states_than_can_be_summed_are_refused() -> None:
    with pytest.raises(UsageError, match=r"2\*\*23 states"):
        ppgen.log_z(DBM(DataSpec("bits", 20, "binary"), (23, 4)), exact=True)
