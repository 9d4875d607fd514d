"""VQ-VAE: its gradient is that written by hand, its averages are online k-means, its bound is below log p(x)."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans, MiniBatchKMeans
from torch import Tensor

import ppgen
from ppgen.data import DataSpec, as_dataset
from ppgen.distributions.codebook import UniformCodes
from ppgen.errors import UsageError
from ppgen.evaluation import evaluate
from ppgen.inference import ELBO
from ppgen.layers.quantisation import Codebook
from ppgen.models import VQVAE
from ppgen.pairs.reductions import log_mean_exp
from ppgen.pairs.tracing import Program

BITS = DataSpec("bits", 6, "binary", num_data=5)


def vq_vae(decay: float | None = None) -> tuple[VQVAE, Tensor]:
    """In float64, M = 2 latents of C = 3 codes, all parameters random, and five data."""
    torch.manual_seed(3)
    pair = VQVAE(BITS, 2, 3, 2, hidden=(4,), decay=decay, commitment=0.3).double()
    for parameter in pair.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return pair, torch.rand(5, 6).double().round()


def hand_written(pair: VQVAE, x: Tensor) -> Tensor:
    """The loss of eq. 3, summed over data and latents, with log p(x | z) of bits written out; M log C is a constant."""
    v = pair.encoder(x).reshape(5, 2, 2)
    distance = (v[:, :, None] - pair.codebook.codes).square().sum(-1)  # (B, M, C)
    e = pair.codebook.codes[distance.argmin(-1)]
    through = v + (e - v).detach()
    p = pair.decoder(through.reshape(5, 4)).sigmoid()
    log_p = (x * p.log() + (1 - x) * (1 - p).log()).sum()
    return -log_p + (v.detach() - e).square().sum() + 0.3 * (v - e.detach()).square().sum()  # type: ignore[no-any-return]


def test_the_gradient_of_elbo_is_that_of_the_loss_written_by_hand() -> None:
    pair, x = vq_vae()
    wanted = torch.autograd.grad(hand_written(pair, x), [*pair.parameters()])
    found = torch.autograd.grad(ELBO().differentiable_loss(pair.model, pair.guide, x), [*pair.parameters()])
    for name, one, other in zip(dict(pair.named_parameters()), found, wanted, strict=True):
        assert torch.allclose(one, other), name


def test_the_value_is_the_log_likelihood_at_the_codes_less_m_log_c_in_training_too() -> None:
    pair, x = vq_vae()
    codes = pair.codebook.codes[pair.chosen(x)].flatten(1)
    log_p = pair.likelihood(pair.decoder(codes), x).log_prob(x)  # (B,)
    for mode in (True, False):
        pair.train(mode)
        torch.testing.assert_close(ppgen.log_weights(pair, (x,), num_particles=1)[0], log_p - 2 * math.log(3))


def test_the_bound_is_below_log_p_which_is_enumerated() -> None:
    pair, x = vq_vae()
    every = torch.tensor([*itertools.product(range(3), repeat=2)])  # (9, M)
    z = pair.codebook.codes[every].flatten(1)[:, None]  # (9, 1, M d)
    truth = log_mean_exp(pair.likelihood(pair.decoder(z), x).log_prob(x))  # (B,)
    found = ppgen.log_weights(pair, (x,), num_particles=1)[0]
    assert bool((found < truth).all())
    measured = evaluate(pair, as_dataset(x, test=x), particles=1, progress=False)
    assert measured.method == "bound"
    assert measured.log_likelihood == pytest.approx(float(found.mean()))


def test_evaluation_tells_how_codes_are_used() -> None:
    pair, x = vq_vae()
    measures = {m.name: m.value for m in evaluate(pair, as_dataset(x, test=x), particles=1, progress=False).measures}
    shares = np.unique(pair.chosen(x).numpy(), return_counts=True)[1] / 10
    assert measures["codebook_perplexity"] == pytest.approx(math.exp(-(shares * np.log(shares)).sum()))
    assert measures["dead_codes"] == 3 - len(shares)


def test_codes_pass_on_the_gradient_as_the_identity() -> None:
    torch.manual_seed(0)
    book, v = Codebook(5, 3).double(), torch.randn(7, 4, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(7, 4, 3, dtype=torch.float64)
    q = book(v)
    assert torch.equal(q, book.codes[torch.cdist(v, book.codes).argmin(-1)])
    (q * weights).sum().backward()
    assert v.grad is not None
    assert torch.equal(v.grad, weights)
    assert book.codes.grad is None


def test_averages_that_forget_nothing_are_scikit_learns_online_k_means() -> None:
    rng = np.random.default_rng(0)
    book, batches = Codebook(4, 2, decay=1.0).double(), rng.normal(size=(6, 20, 2))
    start = rng.normal(size=(4, 2))
    theirs = MiniBatchKMeans(4, init=start, n_init=1, reassignment_ratio=0.0, batch_size=20)
    book.codes = torch.from_numpy(start)
    for batch in batches:
        theirs.partial_fit(batch)
        for name, value in book.averaged(torch.from_numpy(batch)).items():
            setattr(book, name, value)
        np.testing.assert_allclose(book.codes.numpy(), theirs.cluster_centers_, rtol=1e-12)


def test_averages_that_remember_nothing_are_a_step_of_lloyds() -> None:
    rng = np.random.default_rng(1)
    v, start = rng.normal(size=(50, 2)), rng.normal(size=(4, 2))
    book = Codebook(4, 2, decay=0.0).double()
    book.codes = torch.from_numpy(start)
    theirs = KMeans(4, init=start, n_init=1, max_iter=1).fit(v)  # its centres are those after the step
    np.testing.assert_allclose(book.averaged(torch.from_numpy(v))["codes"].numpy(), theirs.cluster_centers_)


def test_averages_between_are_the_papers_ratio_and_an_unused_code_stays() -> None:
    torch.manual_seed(0)
    book = Codebook(3, 2, decay=0.7).double()
    book.codes = torch.tensor([[0.0, 0.0], [3.0, 3.0], [99.0, 99.0]], dtype=torch.float64)
    n, m = torch.zeros(3, 1).double(), torch.zeros(3, 2).double()
    for _ in range(5):
        v = 3 * torch.rand(8, 2).double()
        chosen = torch.nn.functional.one_hot(torch.cdist(v, book.codes).argmin(-1), 3).double()
        n, m = 0.7 * n + 0.3 * chosen.sum(0)[:, None], 0.7 * m + 0.3 * chosen.T @ v  # eqs. 6 and 7
        for name, value in book.averaged(v).items():
            setattr(book, name, value)
        torch.testing.assert_close(book.codes[:2], (m / n)[:2])  # eq. 8
    assert torch.equal(book.codes[2], torch.tensor([99.0, 99.0]).double())


@pytest.mark.parametrize("eager", [True, pytest.param(False, marks=pytest.mark.thorough)])
def test_a_training_moves_averaged_codes_from_step_to_step(eager: bool) -> None:
    pair, x = vq_vae(decay=0.5)
    after = pair.assigned(x)  # of the first step, before the encoder has moved
    assert "codebook.codes" not in dict(pair.named_parameters())
    ppgen.fit(pair, x, "elbo", steps=1, batch_size=5, eager=eager, progress=False)
    torch.testing.assert_close(pair.codebook.codes, after["codebook.codes"].to(pair.codebook.codes))
    assert float(pair.codebook.counts.sum()) == 10
    ppgen.fit(pair, x, "elbo", steps=1, batch_size=5, eager=eager, progress=False)
    assert float(pair.codebook.counts.sum()) == 15


def test_averaged_codes_have_no_gradient_and_the_encoder_commits_to_them() -> None:
    pair, x = vq_vae(decay=0.9)
    v = pair.encoded(x).detach().requires_grad_()
    (slope,) = torch.autograd.grad(pair.codebook.terms(v, 0.3).sum(), [v])
    torch.testing.assert_close(slope, 0.6 * (v - pair.codebook.codes[pair.chosen(x)]).detach())


def test_draws_of_the_prior_are_all_codes_alike() -> None:
    torch.manual_seed(0)
    codes = torch.randn(4, 2)
    draws = UniformCodes(codes).expand([3]).sample((4_000,))  # (4000, 3, 2)
    at = (draws[:, :, None] == codes).all(-1)  # (4000, 3, C)
    assert bool((at.sum(-1) == 1).all())
    # 12,000 draws of p = 1/4: sd of a share is 0.004; five of them, false alarms below 1e-5
    assert float((at.double().mean((0, 1)) - 0.25).abs().max()) < 0.02


def test_codes_start_where_k_means_puts_them() -> None:
    pair, _ = vq_vae()
    x = torch.rand(30, 6).double().round()
    v = pair.encoded(x).detach().flatten(0, 1).numpy()
    pair.start_from_data(x, seed=1)
    found = KMeans(3, n_init=1, random_state=1).fit(v)
    np.testing.assert_allclose(pair.codebook.codes.detach().numpy(), found.cluster_centers_)
    with pytest.raises(UsageError, match="num_codes=3 codes need as many vectors, got 2 of 1 data"):
        pair.start_from_data(x[:1])


def test_chains_refuse_a_latent_whose_values_are_codes() -> None:
    pair, x = vq_vae()
    why = ppgen.make_objective("mcem").refuses(Program(pair.model, pair.guide), (x,))
    assert why is not None
    assert "'z'" in why
