"""NMF: its updates against scikit-learn's from the same start, monotone, and what it refuses."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import poisson
from sklearn.decomposition import NMF as PEER
from torch import Tensor

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.errors import UsageError
from ppgen.inference import ELBO, EM
from ppgen.models import NMF

N, D, K = 20, 7, 3


def data() -> Tensor:
    torch.manual_seed(1)
    return torch.poisson(4 * torch.rand(N, K) @ torch.rand(K, D)).double() + torch.eye(N, D).double()


def whole(x: Tensor, observation: Any = "counts") -> Dataset:
    """All of it to train."""
    return Dataset(DataSpec("amounts", D, observation, num_data=len(x)), train=(x,))


def small_pair(observation: Any = "counts", **options: Any) -> NMF:
    torch.manual_seed(0)
    return NMF(DataSpec("amounts", D, observation, num_data=N), K, **options).double()


@torch.no_grad()
def em_step(pair: NMF, x: Tensor, *, hard: bool = False) -> float:
    for name, value in pair.maximised(pair.expected_statistics(x, hard=hard)).items():
        pair.get_parameter(name).copy_(value)
    return float(pair.log_evidence(x).sum())


@pytest.mark.parametrize("observation", ["counts", "real"])
def test_steps_are_scikit_learns_from_the_same_start(observation: Any) -> None:
    pair, x = small_pair(observation), data() * (1.0 if observation == "counts" else 0.37)
    z, w = pair.codes.detach().numpy().copy(), pair.weight.detach().numpy().T.copy()
    for _ in range(5):
        peer = PEER(K, init="custom", solver="mu", beta_loss="kullback-leibler", max_iter=1, tol=0)
        z = peer.fit_transform(x.numpy(), W=z, H=w)
        w = peer.components_
        em_step(pair, x)
        np.testing.assert_allclose(pair.codes.detach().numpy(), z, rtol=1e-9)
        np.testing.assert_allclose(pair.weight.detach().numpy().T, w, rtol=1e-9)


def test_em_never_lowers_the_likelihood_and_ends_where_it_is_stationary() -> None:
    pair, x = small_pair(), data()
    values = [float(pair.log_evidence(x).sum().detach())] + [em_step(pair, x) for _ in range(500)]
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(values))
    assert values[-1] > values[0] + 10
    gradients = torch.autograd.grad(pair.log_evidence(x).sum(), list(pair.parameters()))
    assert max(float(gradient.abs().max()) for gradient in gradients) < 0.1


def test_log_p_is_scipys_and_the_bound_is_it() -> None:
    pair, x = small_pair(), data()
    wanted = poisson(pair.decode(pair.codes).detach().numpy()).logpmf(x.numpy()).sum(1)
    np.testing.assert_allclose(pair.log_evidence(x).detach().numpy(), wanted)
    assert ELBO().loss(pair.model, pair.guide, x) == pytest.approx(-wanted.sum())


def test_amounts_are_divided_among_parts_or_given_to_the_likeliest() -> None:
    pair, x = small_pair(), data()
    z, w = pair.codes.detach(), pair.weight.detach()
    shares = z[:, None] * w / (z[:, None] * w).sum(-1, keepdim=True)  # (N, D, K)
    soft, hard = (pair.expected_statistics(x, hard=hard) for hard in (False, True))
    torch.testing.assert_close(soft["codes"].detach(), (x[..., None] * shares).sum(1) / w.sum(0))
    best = torch.nn.functional.one_hot(shares.argmax(-1), K)
    torch.testing.assert_close(hard["codes"].detach(), (x[..., None] * best).sum(1) / w.sum(0))
    torch.testing.assert_close(hard["amounts"].sum(), x.sum())


def test_folding_in_finds_the_likeliest_codes() -> None:
    pair, x = small_pair(iterations=5_000).eval(), data()
    z = pair.encode(x).requires_grad_()
    (slope,) = torch.autograd.grad(pair._amounts(z).log_prob(x).sum(), z)
    assert float((slope * z.detach()).abs().max()) < 1e-4  # z on its way to 0 is slow
    assert float(slope.max()) < 1e-2


def test_em_in_the_loop_takes_these_steps() -> None:
    pair, other, x = small_pair(), small_pair(), data()
    ppgen.fit(pair, whole(x), EM(), epochs=3, batch_size=N, progress=False)
    for _ in range(3):
        em_step(other, x)
    torch.testing.assert_close(pair.weight, other.weight)


def test_what_does_not_fit_is_refused() -> None:
    pair = small_pair("real")
    with pytest.raises(UsageError, match=r"amounts of 0 or more, and row \d+ of x has -1 in column \d: shift"):
        ppgen.fit(pair, whole(data() - 1, "real"), EM(), epochs=1, batch_size=N, progress=False)
    with pytest.raises(UsageError, match="trained on all of them at once, got a batch of 10: train with batch_size=20"):
        ppgen.fit(small_pair(), whole(data()), ELBO(), steps=1, batch_size=10)
    with pytest.raises(UsageError, match="data 'amounts' do not say how many there are"):
        NMF(DataSpec("amounts", D, "counts"))
    with pytest.raises(UsageError, match=r"codes of NMF must be \(20, 3\) numbers above 0, got \(2, 3\)"):
        pair.start_at(weight=torch.ones(D, K), codes=torch.ones(2, K))
    with pytest.raises(UsageError, match="part 1 of NMF is left without any amount: lower latent_dim"):
        pair.maximised({"codes": torch.eye(3)[:, [0, 2, 2]] * torch.tensor([1.0, 0, 1]), "amounts": torch.ones(D, K)})
