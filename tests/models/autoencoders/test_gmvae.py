"""GMVAE: log-weights by hand, q(y | x) of classes and of gates, one unit's as categories, sizes that are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Normal

from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.models import GMVAE
from ppgen.pairs.tracing import Program, run_particles

BITS = DataSpec("bits", 6, "binary", num_data=20)


def gmvae(**options: Any) -> tuple[GMVAE, Tensor]:
    """In float64, all parameters random, and five data."""
    torch.manual_seed(3)
    pair = GMVAE(BITS, 2, hidden=(4,), **options).double()
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return pair, torch.rand(5, 6).double().round()


def gaussian(numbers: Tensor, z: Tensor) -> Tensor:
    loc, log_scale = numbers.chunk(2, -1)
    log_prob: Tensor = Normal(loc, log_scale.exp()).log_prob(z)
    return log_prob.sum(-1)


def log_w_by_hand(pair: GMVAE, x: Tensor, y: Tensor, z: Tensor, code: Tensor, kind: Any) -> Tensor:
    """``kind`` gives the log-probability of y by logits."""
    wide, centred = x.expand(*z.shape[:-1], -1), (x - pair.mean).expand(*z.shape[:-1], -1)
    log_p = kind(pair.logits, y) + gaussian(pair.mixture.network(code), z)
    log_p = log_p + Bernoulli(logits=pair.decoder(torch.cat([z, code], -1))).log_prob(wide).sum(-1)
    log_q = kind(pair.classifier(centred), y) + gaussian(pair.encoder.network(torch.cat([centred, code], -1)), z)
    log_w: Tensor = log_p - log_q
    return log_w


def test_log_weights_of_classes_are_those_by_hand() -> None:
    pair, x = gmvae(classes=3)
    one = run_particles(Program(pair.model, pair.guide), (x,), 7)
    y, z = (one.guide_sites[name]["value"] for name in "yz")  # (K, B, 1, 3), (K, B, 2)

    def kind(logits: Tensor, y: Tensor) -> Tensor:
        log_prob: Tensor = Categorical(logits=logits).log_prob(y[..., 0, :].argmax(-1))
        return log_prob

    torch.testing.assert_close(one.log_w, log_w_by_hand(pair, x, y, z, y.flatten(-2), kind))


def test_log_weights_of_gates_are_those_by_hand() -> None:
    pair, x = gmvae(units=3, classes=2)
    one = run_particles(Program(pair.model, pair.guide), (x,), 7)
    y, z = (one.guide_sites[name]["value"] for name in "yz")  # (K, B, 3), (K, B, 2)
    wanted = log_w_by_hand(pair, x, y, z, 2 * y - 1, lambda logits, y: Bernoulli(logits=logits).log_prob(y).sum(-1))
    torch.testing.assert_close(one.log_w, wanted)


def test_responsibilities_are_the_classifiers_and_categories_those_of_a_single_unit() -> None:
    classes, x = gmvae(classes=3)
    wanted = classes.classifier(x - classes.mean).softmax(-1)
    torch.testing.assert_close(classes.responsibilities(x), wanted[:, None])
    assert classes.category_probs is not None
    torch.testing.assert_close(classes.category_probs(x), wanted)
    gates, x = gmvae(units=3, classes=2)
    on = gates.classifier(x - gates.mean).sigmoid()
    torch.testing.assert_close(gates.responsibilities(x), torch.stack([1 - on, on], -1))
    assert gates.category_probs is None


def test_gaussians_of_classes_start_apart_with_scales_of_one() -> None:
    torch.manual_seed(0)
    pair = GMVAE(BITS, 50, classes=40, spread=3.0, hidden=(4,))
    loc, log_scale = pair.mixture.network(torch.eye(40)).detach().chunk(2, -1)
    assert float(loc.std()) == pytest.approx(3.0, rel=0.1)  # of 2,000 numbers: an error of 1.6 %
    assert not log_scale.any()


@pytest.mark.parametrize("options", [{"units": 0}, {"classes": 1}, {"spread": 0.0}, {"latent_dim": 0}])
def test_sizes_without_meaning_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        GMVAE(BITS, **options)
