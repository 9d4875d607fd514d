"""The semi-supervised VAE against its bound by hand and Pyro's enumeration; what labels do to it, and learning."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from ppgen.data import DataSpec
from ppgen.draws import prior_latents
from ppgen.errors import UsageError
from ppgen.models import SSVAE
from ppgen.pairs.parameters import isolated
from ppgen.pairs.tracing import Particles, Program, run_particles

SPEC = DataSpec("bits", 6, "binary", num_classes=3, num_data=5)
X = torch.rand(5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64).round()
Y = torch.tensor([0, -1, 2, 1, -1])
KNOWN = Y >= 0
ALPHA = 2.5


def small_pair(**options: Any) -> SSVAE:
    """Three classes, two latents, in float64, every parameter off its initial value."""
    pair = SSVAE(SPEC, 2, hidden=(4,), classifier=(5,), alpha=ALPHA, **options).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return pair


def run(
    pair: SSVAE, num_particles: int, batch: tuple[Tensor, ...], given: dict[str, Tensor] | None = None
) -> Particles:
    return run_particles(Program(pair.model, pair.guide), batch, num_particles, given)


@torch.no_grad()
def bound_given_class(pair: SSVAE, x: Tensor, c: int, num: int) -> Tensor:
    """Draws of log p(x, y = c, z) - log q(z | x, y = c) of one datum, (num,), by the densities' formulas."""
    y = torch.eye(3, dtype=x.dtype)[c]
    loc, log_scale = pair.encoder.network((x - pair.mean, y)).chunk(2, -1)
    noise = torch.randn(num, 2, dtype=x.dtype)
    z = loc + log_scale.exp() * noise
    log_q = (-0.5 * noise**2 - log_scale - 0.5 * math.log(2 * math.pi)).sum(-1)
    log_x = Bernoulli(logits=pair.decoder((z, y))).log_prob(x).sum(-1)
    bound: Tensor = log_x + Normal(0.0, 1.0).log_prob(z).sum(-1) - log_q - math.log(3)
    return bound


@torch.no_grad()
def objective_by_hand(pair: SSVAE, x: Tensor, label: int, num: int) -> Tensor:
    """Draws of L(x, l) + alpha log q(l | x), or of U(x) where the label is -1: (num,)."""
    log_q: Tensor = pair.classifier(x - pair.mean).log_softmax(-1)
    if label >= 0:
        return bound_given_class(pair, x, label, num) + ALPHA * log_q[label]
    terms = [log_q[c].exp() * (bound_given_class(pair, x, c, num) - log_q[c]) for c in range(3)]
    return torch.stack(terms).sum(0)


def test_the_loss_is_the_objective_of_the_paper() -> None:
    """Pyro's enumeration and sums by hand, 20,000 draws: within 4.5 standard errors (false alarms: 1 in 150,000)."""
    pair, num = small_pair(), 20_000
    elbo = TraceEnum_ELBO(max_plate_nesting=1, num_particles=num, vectorize_particles=True)
    with torch.no_grad():
        found = -elbo.loss(pair.model, config_enumerate(pair.guide), X, Y)
    by_hand = torch.stack([objective_by_hand(pair, x, int(y), num) for x, y in zip(X, Y, strict=True)])
    error = (2 * by_hand.var(1).sum() / num).sqrt()  # both are such means
    assert abs(found - by_hand.mean(1).sum()) < 4.5 * error


def test_a_label_that_is_known_is_drawn_always() -> None:
    drawn = run(small_pair(), 200, (X, Y)).guide_sites["y"]["value"]  # (K, B, C)
    assert torch.equal(drawn[:, KNOWN].argmax(-1), Y[KNOWN].expand(200, -1))
    assert all(len(drawn[:, i].argmax(-1).unique()) > 1 for i in (~KNOWN).nonzero())


def test_the_weight_of_a_labelled_datum_is_that_of_its_label_alone() -> None:
    """log w = log p(x, l, z) - log q(z | x, l), whatever the classifier says."""
    pair = small_pair().eval()
    particles = run(pair, 4, (X, Y))
    of = {name: site["value"] for name, site in particles.guide_sites.items()}
    log_q = pair.encoder((X - pair.mean, of["y"])).log_prob(of["z"])
    log_x = Bernoulli(logits=pair.decoder((of["z"], of["y"]))).log_prob(X).sum(-1)
    expected = log_x + Normal(0.0, 1.0).log_prob(of["z"]).sum(-1) - log_q - math.log(3)
    torch.testing.assert_close(particles.log_w[:, KNOWN], expected[:, KNOWN])


def test_other_states_of_a_labelled_datum_weigh_nothing_and_are_numbers() -> None:
    pair = small_pair()
    every = torch.eye(3, dtype=X.dtype)[:, None].expand(3, 5, 3)  # (C, B, C)
    particles = run(pair, 3, (X, Y), {"y": every})
    assert torch.equal(particles.log_q_of(["y"]).exp()[:, KNOWN], torch.eye(3, dtype=X.dtype)[:, Y[KNOWN]])
    assert particles.log_w.isfinite().all()
    (gradient,) = torch.autograd.grad(particles.log_w.sum(), [next(pair.classifier.parameters())])
    assert gradient.isfinite().all()


def test_no_labels_are_labels_that_are_all_unknown() -> None:
    pair = small_pair()
    torch.manual_seed(0)
    without = run(pair, 3, (X,)).log_w
    torch.manual_seed(0)
    torch.testing.assert_close(without, run(pair, 3, (X, torch.full_like(Y, -1))).log_w)


def test_evaluation_has_no_term_of_the_classifier() -> None:
    """In training log w holds alpha log q(l | x) beside, where the label is known."""
    pair = small_pair()
    torch.manual_seed(0)
    training = run(pair, 3, (X, Y))
    torch.manual_seed(0)
    evaluated = run(pair.eval(), 3, (X, Y))
    term = ALPHA * pair.classify(X).log().gather(1, Y.clamp_min(0)[:, None])[:, 0]
    torch.testing.assert_close(training.log_w - evaluated.log_w, term.where(KNOWN, 0.0).expand(3, -1))
    assert "classified" not in evaluated.model_sites


def test_weights_average_to_the_joint_of_data_and_label() -> None:
    """sum_l p(x, l) = p(x), each by 200,000 particles: within 4.5 standard errors (false alarms: 1 in 150,000)."""
    pair, x = small_pair().eval(), X[:1]
    with torch.no_grad():
        whole = run(pair, 200_000, (x,)).log_w.exp()
        parts = [run(pair, 200_000, (x, torch.tensor([c]))).log_w.exp() for c in range(3)]
    difference = whole.mean() - sum(part.mean() for part in parts)
    variance = (whole.var() + sum(part.var() for part in parts)) / 200_000
    assert difference.abs() < 4.5 * variance.sqrt()


def test_the_shared_layer_is_that_of_the_two_inputs_side_by_side() -> None:
    pair = small_pair()
    z, y = torch.randn(7, 5, 2, dtype=X.dtype), torch.eye(3, dtype=X.dtype)[Y.clamp_min(0)]
    layer = pair.decoder
    values = dict(layer.named_parameters())
    weight = torch.cat([values["vector.weight"], values["label.weight"]], 1)
    hidden = torch.nn.functional.linear(torch.cat([z, y.expand(7, 5, 3)], -1), weight, values["vector.bias"])
    torch.testing.assert_close(layer((z, y)), layer.rest(hidden.relu()))


def test_draws_of_the_model_follow_the_labels_they_are_given() -> None:
    pair = small_pair().eval()
    batch = (X, torch.tensor([2, 0, 1, 2, 0]))
    drawn = prior_latents(pair, batch, 10)["y"].argmax(-1)
    assert drawn.tolist() == [2, 0, 1, 2, 0] * 2


def test_it_learns_from_many_data_without_labels_and_few_with_them() -> None:
    """Two classes of noisy copies of two patterns, one label each: every label of 200 data is found."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.rand(2, 20, generator=generator).round()
    truth = torch.arange(200) % 2
    x = torch.bernoulli(0.1 + 0.8 * patterns[truth], generator=generator)
    y = torch.full((200,), -1)
    y[:2] = truth[:2]
    spec = DataSpec("copies", 20, "binary", num_classes=2, num_data=200, mean=x.mean(0))
    pair = SSVAE(spec, 2, hidden=(20,), classifier=(20,), alpha=10.0)
    optimizer = torch.optim.Adam(pair.parameters(), 0.02)
    elbo, guide = TraceEnum_ELBO(max_plate_nesting=1), config_enumerate(pair.guide)
    with isolated():
        for _ in range(70):
            loss = elbo.differentiable_loss(pair.model, guide, x, y) / 200
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert torch.equal(pair.classify(x).argmax(-1), truth)


def test_classify_gives_probabilities() -> None:
    probs = small_pair().classify(X)
    assert probs.shape == (5, 3)
    torch.testing.assert_close(probs.sum(-1), torch.ones(5, dtype=X.dtype))


@pytest.mark.parametrize(
    ("spec", "options", "sentence"),
    [
        (DataSpec("x", 6, "binary"), {}, "SSVAE needs the number of classes, but data 'x' come without labels"),
        (SPEC, {"latent_dim": 0}, "latent_dim must be a whole number of at least 1, got 0"),
        (SPEC, {"hidden": ()}, "hidden must be a list of whole numbers of at least 1 (at least 1 of them), got ()"),
        (SPEC, {"alpha": -1}, "alpha must be a number of at least 0, got -1"),
        (SPEC, {"activation": "rleu"}, "expected the name of an activation, got 'rleu': did you mean 'relu'"),
    ],
)
def test_bad_arguments_are_refused(spec: DataSpec, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        SSVAE(spec, **options)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_dropout_is_the_classifiers_and_of_training_alone(network: str) -> None:
    spec = DataSpec("pictures", 6, "binary", image_shape=(2, 3), num_classes=3)
    pair = SSVAE(spec, 2, hidden=(4,), classifier=(50,), network=network, channels=(4,), dropout=0.5).double()
    assert not torch.equal(pair.classify(X), pair.classify(X))
    pair.eval()
    assert torch.equal(pair.classify(X), pair.classify(X))


@pytest.mark.parametrize("share", [-0.1, 1, "0.5"])
def test_dropout_that_is_no_share_is_refused(share: Any) -> None:
    with pytest.raises(UsageError, match="dropout must be a number of at least 0 and below 1"):
        SSVAE(SPEC, dropout=share)
