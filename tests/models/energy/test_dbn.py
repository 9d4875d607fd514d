"""Deep belief nets against sums over all states."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pyro import poutine
from torch import Tensor

import ppgen
from ppgen.distributions.binary_states import binary_states

D = 4


def a_net(hidden: tuple[int, ...] = (3, 2), scale: float = 0.8, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    pair: Any = ppgen.make_pair("dbn", ppgen.DataSpec("bits", D, "binary"), hidden=hidden).double()
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter, 0.0, scale)
    return pair


def all_of(units: int) -> Tensor:
    (states,) = binary_states(units, torch.zeros((), dtype=torch.float64))
    return states


def log_joint(pair: Any, v: Tensor, layers: list[Tensor]) -> Tensor:
    """log p~(v, h_1 .. h_L) by the parameters' names, as it is written on paper."""
    below = [v, *layers]
    bias = [pair.visible_bias, *(getattr(pair, f"hidden_bias_{number}") for number in range(1, len(below)))]
    weight = [getattr(pair, f"weight_{number}") for number in range(1, len(below))]
    total: Tensor = below[-2] @ bias[-2] + below[-1] @ bias[-1] + ((below[-2] @ weight[-1]) * below[-1]).sum(-1)
    for number in range(len(below) - 2):
        logits = bias[number] + below[number + 1] @ weight[number].T
        total = total - torch.nn.functional.softplus(logits).sum(-1) + (below[number] * logits).sum(-1)
    return total


@pytest.mark.parametrize("hidden", [(3, 2), (2, 3, 2), (2, 2, 2, 3)])
def test_free_energy_and_log_z_are_sums_over_all_states(hidden: tuple[int, ...]) -> None:
    pair, v, states = a_net(hidden), all_of(D), all_of(sum(hidden))
    layers = list(states[:, None].split(hidden, -1))
    summed = log_joint(pair, v, layers).logsumexp(0)
    assert pair.free_energy_is_exact
    assert torch.allclose(-pair.free_energy(v), summed, atol=1e-12)
    assert torch.allclose(pair.exact_log_z(), summed.logsumexp(0), atol=1e-12)


def test_log_weights_are_those_of_the_joint_and_their_mean_is_the_evidence() -> None:
    pair, v = a_net((2, 3, 2)), all_of(D)
    log_w = ppgen.log_weights(pair, (v,), num_particles=40_000)
    error = (log_w - log_w.max()).exp().std(0) / (log_w - log_w.max()).exp().mean(0) / 200
    found = log_w.logsumexp(0) - torch.log(torch.tensor(40_000.0))
    assert bool(((found + pair.free_energy(v)).abs() < 4.5 * error).all())


def test_the_bound_of_a_wide_net_is_above_its_free_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, v = a_net((3, 2)), all_of(D)
    exact = pair.free_energy(v)
    monkeypatch.setattr(pair, "free_energy_is_exact", False)
    bounds = torch.stack([pair.free_energy(v) for _ in range(2000)])
    over, error = bounds.mean(0) - exact, bounds.std(0) / 2000**0.5
    assert bool((over > -4.5 * error).all())
    assert bool((over > 4.5 * error).any())


def test_what_is_drawn_from_the_top_has_the_marginal_of_the_net() -> None:
    pair, num = a_net((3, 2)), 40_000
    with torch.no_grad():
        top = all_of(3)
        probabilities = pair.log_tempered(top, 1.0).softmax(0)
        states = top[torch.multinomial(probabilities, num, replacement=True)]
        (drawn,), latents = pair.descend(pair.sweep(states))
        numbers = (drawn @ (2.0 ** torch.arange(D, dtype=torch.float64))).long()
        expected = num * (-pair.free_energy(all_of(D)) - pair.exact_log_z()).exp()
    chi_square = ((numbers.bincount(minlength=2**D) - expected).square() / expected).sum()
    assert float(chi_square) < 44.3  # of 15 degrees of freedom: one run in 10,000 is above
    assert latents.keys() == {"h_1"}


def test_a_net_of_many_tied_layers_has_the_marginals_of_the_machine() -> None:
    """The infinite net with tied weights is the RBM (Hinton, Osindero and Teh 2006, section 2)."""
    torch.manual_seed(0)
    machine: Any = ppgen.make_pair("rbm", ppgen.DataSpec("bits", 3, "binary"), hidden=2).double()
    for parameter in machine.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.8)
    machine.requires_grad_(False)
    v = all_of(3)
    exact = (-machine.free_energy(v) - machine.exact_log_z()).softmax(0)
    distances = []
    for layers in (2, 4, 6, 9):
        pair: Any = ppgen.make_pair("dbn", ppgen.DataSpec("bits", 3, "binary"), hidden=((2, 3) * 5)[:layers]).double()
        pair.requires_grad_(False)
        with torch.no_grad():
            pair.visible_bias.copy_(machine.visible_bias)
            for number in range(1, layers + 1):
                odd = number % 2 == 1
                weight, bias = (
                    (machine.weight, machine.hidden_bias) if odd else (machine.weight.T, machine.visible_bias)
                )
                getattr(pair, f"weight_{number}").copy_(weight)
                getattr(pair, f"hidden_bias_{number}").copy_(bias)
            pair.top.weight.zero_()  # where the tied layers end: a prior that is not the machine's
            top = all_of(pair.hidden[-2])
            law = pair.log_tempered(top, 1.0).softmax(0)
            for number in range(layers - 2, -1, -1):
                below = all_of(pair.hidden[number - 1] if number else 3)
                bias = getattr(pair, f"hidden_bias_{number}") if number else pair.visible_bias
                logits = bias + top @ getattr(pair, f"weight_{number + 1}").T  # (S, below)
                each = torch.distributions.Bernoulli(logits=logits[:, None]).log_prob(below).sum(-1).exp()  # (S, S')
                law, top = law @ each, below
        assert torch.allclose(law, (-pair.free_energy(v) - pair.exact_log_z()).exp()) or layers > 4
        distances.append(float((law - exact).abs().sum()))
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.02 * distances[0]


def test_the_names_of_the_parameters_are_those_of_the_layers() -> None:
    pair = a_net((3, 2, 4))
    shapes = {name: tuple(value.shape) for name, value in pair.named_parameters()}
    assert shapes == {
        "visible_bias": (D,),
        **{"weight_1": (D, 3), "hidden_bias_1": (3,), "weight_2": (3, 2), "hidden_bias_2": (2,)},
        **{"weight_3": (2, 4), "hidden_bias_3": (4,)},
        **{"recognition_weight_1": (D, 3), "recognition_bias_1": (3,)},
        **{"recognition_weight_2": (3, 2), "recognition_bias_2": (2,)},
    }


def test_the_receptive_fields_of_upper_layers_are_products_of_the_weights() -> None:
    pair = a_net((3, 2, 4))
    second, third = pair.upper_filters()
    assert torch.equal(pair.filters(), pair.weight_1)
    assert torch.equal(second, pair.weight_1 @ pair.weight_2)
    assert torch.equal(third, pair.weight_1 @ pair.weight_2 @ pair.weight_3)


def test_the_guide_recognises_what_ascends() -> None:
    pair, v = a_net((3, 2, 2)), all_of(D)
    with poutine.trace() as tracer:
        pair.guide(v)
    sites = [name for name, site in tracer.trace.nodes.items() if site["type"] == "sample" and name != "data"]
    assert sites == ["h_1", "h_2"] == list(pair.ascend((v,)))
    assert torch.equal(pair.state_of({"h_1": v, "h_2": v[:, :2]}, (v,)), v[:, :2])


def test_labels_join_the_machine_on_top() -> None:
    torch.manual_seed(0)
    spec = ppgen.DataSpec("bits", D, "binary", num_classes=3)
    pair: Any = ppgen.make_pair("dbn", spec, hidden=(3, 2), labels=True).double()
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.8)
    x, h, top = all_of(D), all_of(3)[:, None, None], all_of(2)[:, None, None, None]  # (2^2, 2^3, C, 2^D)
    y = torch.eye(3, dtype=torch.float64)[:, None]
    logits = pair.visible_bias + h @ pair.weight_1.T
    above = ((h @ pair.weight_2 + (y @ pair.label_weight) + pair.hidden_bias_2) * top).sum(-1)
    joint = above + h @ pair.hidden_bias_1 + y @ pair.label_bias
    joint = joint + (x * logits - torch.nn.functional.softplus(logits)).sum(-1)
    both = pair.datum((x, torch.ones(len(x), dtype=torch.int64)))
    assert torch.allclose(-pair.free_energy(both), joint.logsumexp((0, 1))[1], atol=1e-12)
    assert torch.allclose(-pair.free_energy(x), joint.logsumexp((0, 1, 2)), atol=1e-12)
    assert torch.allclose(pair.exact_log_z(), joint.logsumexp((0, 1, 2, 3)), atol=1e-12)
    assert torch.allclose(pair.classify(x).sum(-1), torch.ones(len(x), dtype=torch.float64))
    states = pair.state_at(x)
    (drawn, label), latents = pair.descend(pair.sweep(states))
    assert (states.shape, drawn.shape, label.shape) == ((16, 6), (16, D), (16,))
    assert latents["h_1"].shape == (16, 3)


def test_a_net_with_labels_goes_the_whole_way() -> None:
    data = ppgen.load_data("digits", labels=True)
    pair = ppgen.make_pair("dbn", data.spec, hidden=(30, 40), labels=True)
    objective = "greedy, up_down"
    run = ppgen.fit(pair, data, objective, steps=600, batch_size=100, lr=0.02, eager=True, progress=False)
    found = run.evaluate(particles=2, log_z=ppgen.log_z(pair, num_temperatures=100))
    assert {measure.name: measure.value for measure in found.measures}["accuracy"] > 0.5  # by chance 0.1
    assert run.sample(3).x.shape == (3, 64)


def test_data_that_are_not_binary_are_told() -> None:
    pair = a_net()
    with pytest.raises(ppgen.UsageError, match="must hold 0 or 1"):
        ppgen.fit(pair, torch.full((4, D), 0.3, dtype=torch.float64), "greedy", steps=2)
    with pytest.raises(ppgen.UsageError, match="hidden"):
        ppgen.make_pair("dbn", ppgen.DataSpec("bits", D, "binary"), hidden=(3,))


@pytest.mark.parametrize(("hidden", "is_the_machine"), [((3, 4), True), ((3, 4, 3), True), ((3, 2), False)])
def test_a_mirrored_net_begins_with_what_its_first_machine_has_learnt(
    hidden: tuple[int, ...], is_the_machine: bool
) -> None:
    torch.manual_seed(0)
    pair: Any = ppgen.make_pair("dbn", ppgen.DataSpec("bits", D, "binary"), hidden=hidden, mirrored=True).double()
    machine, v = pair.machines[0], all_of(D)
    for parameter in machine.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.8)
    with torch.no_grad():
        for number in range(len(hidden) - 1):
            pair.settle(number)
    found, learnt = ((-one.free_energy(v) - one.exact_log_z()).exp() for one in (pair, machine))
    assert torch.allclose(found, learnt, atol=1e-12) == is_the_machine
    if hidden == (3, 4):
        log_w = ppgen.log_weights(pair, (v,), num_particles=20)
        assert torch.allclose(log_w, -pair.free_energy(v).expand_as(log_w), atol=1e-10)  # the guide is exact


def test_a_net_of_reals_has_no_mirror_of_its_visible_layer() -> None:
    pair: Any = ppgen.make_pair("dbn", ppgen.DataSpec("reals", D, "real"), hidden=(3, 5), mirrored=True)
    before = pair.weight_2.detach().clone()
    with torch.no_grad():
        pair.settle(0)
    assert torch.equal(pair.weight_2, before)
