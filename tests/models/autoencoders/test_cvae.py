"""The CVAE: everything is given the label, and the label of one datum touches no other."""

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.models import CVAE
from ppgen.pairs.tracing import Particles, Program, run_particles

SPEC = DataSpec("pixels", 6, "binary", num_classes=3)


def tiny() -> tuple[CVAE, Tensor, Tensor]:
    """A small pair in float64, five data and their labels."""
    return (
        CVAE(SPEC, 2, hidden=(4,)).double(),
        torch.randint(2, (5, 6)).double(),
        torch.tensor([0, 1, 2, 1, 0]),
    )


def run(pair: CVAE, x: Tensor, y: Tensor, **given: Tensor) -> Particles:
    return run_particles(Program(pair.model, pair.guide), (x, y), 3, given)


def test_log_weights_are_those_of_the_page() -> None:
    pair, x, y = tiny()
    particles = run(pair, x, y)
    z, label = particles.guide_sites["z"]["value"], one_hot(y, 3).double()
    prior_loc, prior_log_scale = pair.prior.network(label).chunk(2, -1)
    outputs = pair.decoder(torch.cat([z, label.expand(3, 5, 3)], -1))
    log_p = dist.Normal(prior_loc, prior_log_scale.exp()).log_prob(z).sum(-1)
    log_p = log_p + dist.Bernoulli(logits=outputs).log_prob(x).sum(-1)
    loc, log_scale = pair.encoder.network(torch.cat([x, label], -1)).chunk(2, -1)
    torch.testing.assert_close(particles.log_p, log_p)
    torch.testing.assert_close(particles.log_q, dist.Normal(loc, log_scale.exp()).log_prob(z).sum(-1))


def test_a_label_changes_the_density_of_its_own_datum_alone() -> None:
    pair, x, y = tiny()
    z = torch.randn(3, 5, 2, dtype=torch.float64)
    before = run(pair, x, y, z=z)
    after = run(pair, x, torch.tensor([0, 1, 0, 1, 0]), z=z)  # datum 2 has another label
    for old, new in ((before.log_p, after.log_p), (before.log_q, after.log_q)):
        assert (old != new).all(0).tolist() == [False, False, True, False, False]
        torch.testing.assert_close(new[:, [0, 1, 3, 4]], old[:, [0, 1, 3, 4]])


def test_data_without_labels_are_refused() -> None:
    with pytest.raises(UsageError, match="data 'digits' come without labels: load them with labels=True, or a table"):
        CVAE(DataSpec("digits", 64, "binary"))


@pytest.mark.parametrize("options", [{"latent_dim": -1}, {"hidden": (0,)}])
def test_sizes_must_be_positive(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        CVAE(SPEC, **options)  # type: ignore[arg-type]  # that is the point
