"""The IWAE pair: a chain of two layers down, and the same chain up."""

from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.layers.networks import ConditionalNormal
from ppgen.models import IWAE, VAE
from ppgen.pairs.tracing import Program, run_particles

SPEC = DataSpec("pixels", 6, "binary")


def normal(conditional: ConditionalNormal, given: Tensor, value: Tensor) -> Tensor:
    """log N(value; loc(given), scale(given)), straight from the network's numbers."""
    loc, log_scale = conditional.network(given).chunk(2, -1)
    log_prob: Tensor = dist.Normal(loc, log_scale.exp()).log_prob(value).sum(-1)
    return log_prob


def test_log_weights_are_those_of_the_page() -> None:
    pair = IWAE(SPEC, (3, 2), hidden=((5, 4), (4,))).double()
    x = torch.randint(2, (5, 6)).double()
    particles = run_particles(Program(pair.model, pair.guide), (x,), 4)
    z1, z2 = (particles.guide_sites[name]["value"] for name in ("z1", "z2"))  # (K, B, latent)
    assert (z1.shape, z2.shape) == ((4, 5, 3), (4, 5, 2))
    log_p = (
        dist.Normal(torch.zeros_like(z2), torch.ones_like(z2)).log_prob(z2).sum(-1)
        + normal(pair.decoder2, z2, z1)
        + dist.Bernoulli(logits=pair.decoder1(z1)).log_prob(x).sum(-1)
    )
    torch.testing.assert_close(particles.log_p, log_p)
    torch.testing.assert_close(particles.log_q, normal(pair.encoder1, x, z1) + normal(pair.encoder2, z1, z2))


def test_the_default_networks_are_those_of_the_paper() -> None:
    pair = IWAE(DataSpec("mnist", 784, "binary"))
    widths = {
        name: [layer.out_features for layer in network.modules() if isinstance(layer, nn.Linear)]
        for name, network in pair.named_children()
        if name not in ("likelihood", "prior")
    }
    assert widths == {
        "encoder1": [200, 200, 2 * 100],
        "encoder2": [100, 100, 2 * 50],
        "decoder2": [100, 100, 2 * 100],
        "decoder1": [200, 200, 784],
    }


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"latent_dims": 50}, "latent_dims must be a list of whole numbers of at least 1 (at least 1 of"),
        (
            {"latent_dims": (3, 2, 1)},
            "IWAE has 3 stochastic layers, latent_dims=(3, 2, 1), and needs as many lists of hidden layers, got",
        ),
        ({"latent_dims": (3, 0)}, "latent_dims must be a list of whole numbers of at least 1 (at least 1 of"),
        ({"hidden": 200}, "hidden must be a list of lists of whole numbers of at least 1 (at least 1 of"),
        (
            {"hidden": (200, 200)},
            "hidden must be a list of lists of whole numbers of at least 1 (at least 1 of them), got (200,",
        ),
        ({"activation": "rel"}, "expected the name of an activation, got 'rel': did you mean 'relu'?"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        IWAE(SPEC, **options)
    assert str(error.value).startswith(sentence)


def exact(pair: IWAE, x: Tensor) -> Tensor:
    """Makes the guide of layers of one number and no hidden units the posterior; returns log p(x) (B,)."""
    depth = len(pair.latent_dims)
    linear: dict[str, nn.Linear] = {
        name: next(m for m in getattr(pair, name).modules() if isinstance(m, nn.Linear))
        for name in (f"{kind}{number}" for kind in ("encoder", "decoder") for number in range(1, depth + 1))
    }
    mean, variance = torch.zeros(()).double(), torch.ones(()).double()  # of z_L
    with torch.no_grad():
        for number in range(depth, 1, -1):
            layer, up = linear[f"decoder{number}"], linear[f"encoder{number}"]
            layer.weight[1] = 0  # a scale that is the same for all z
            a, b, s2 = layer.weight[0, 0], layer.bias[0], (2 * layer.bias[1]).exp()
            below, of_below = a * mean + b, a * a * variance + s2
            gain = a * variance / of_below
            up.weight.copy_(torch.stack([gain, torch.zeros_like(gain)])[:, None])
            up.bias.copy_(torch.stack([mean - gain * below, (variance - gain * a * variance).log() / 2]))
            mean, variance = below, of_below
        w, c = linear["decoder1"].weight[:, 0], linear["decoder1"].bias
        noise = (2 * dict(pair.named_parameters())["likelihood.log_scale"]).exp()
        covariance = variance * w[:, None] * w + noise.diag()
        gains = variance * torch.linalg.solve(covariance, w)  # (D,)
        first = linear["encoder1"]
        first.weight.copy_(torch.stack([gains, torch.zeros_like(gains)]))
        first.bias.copy_(torch.stack([mean - gains @ (w * mean + c), (variance * (1 - gains @ w)).log() / 2]))
        return dist.MultivariateNormal(w * mean + c, covariance).log_prob(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_of_linear_layers_and_their_posterior_every_log_weight_is_log_p(depth: int) -> None:
    torch.manual_seed(depth)
    pair = IWAE(DataSpec("numbers", 3, "real"), (1,) * depth, hidden=((),) * depth).double()
    for parameter in pair.parameters():
        nn.init.normal_(parameter, std=0.7)
    x = torch.randn(5, 3).double()
    log_p = exact(pair, x)
    found = run_particles(Program(pair.model, pair.guide), (x,), 4)
    assert found.latents == [f"z{number}" for number in range(1, depth + 1)]
    torch.testing.assert_close(found.log_w, log_p.expand(4, -1))


def test_one_layer_is_the_vae() -> None:
    pairs = []
    for make in (lambda: IWAE(SPEC, (3,), hidden=((5, 4),)), lambda: VAE(SPEC, 3, hidden=(5, 4))):
        torch.manual_seed(0)
        pair = make()
        x = torch.randint(2, (5, 6)).float()
        pairs.append(run_particles(Program(pair.model, pair.guide), (x,), 4).log_w)
    assert torch.equal(*pairs)
