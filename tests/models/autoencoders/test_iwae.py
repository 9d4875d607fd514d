"""The IWAE pair: a chain of two layers down, and the same chain up."""

from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.layers.networks import ConditionalNormal
from ppgen.models import IWAE
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
        if name != "likelihood"
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
        ({"latent_dims": 50}, "latent_dims must be a list of whole numbers of at least 1 (2 of them), got 50."),
        (
            {"latent_dims": (3, 2, 1)},
            "latent_dims must be a list of whole numbers of at least 1 (2 of them), got (3,",
        ),
        ({"latent_dims": (3, 0)}, "latent_dims must be a list of whole numbers of at least 1 (2 of them), got (3, 0)."),
        ({"hidden": 200}, "hidden must be a list of lists of whole numbers of at least 1 (2 of them), got 200."),
        (
            {"hidden": (200, 200)},
            "hidden must be a list of lists of whole numbers of at least 1 (2 of them), got (200,",
        ),
        ({"activation": "rel"}, "expected the name of an activation, got 'rel': did you mean 'relu'?"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        IWAE(SPEC, **options)
    assert str(error.value).startswith(sentence)
