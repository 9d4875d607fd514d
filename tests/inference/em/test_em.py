"""EM against scikit-learn's, step by step; its batches, its monotony, online steps, and what it refuses."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

import ppgen
from ppgen import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import EM
from ppgen.models import GAN, GMM
from ppgen.pairs import Program


def clusters(num: int = 60, size: int = 2, seed: int = 0) -> Tensor:
    """Three clusters of float64 data, (num, size), which overlap."""
    random = np.random.RandomState(seed)
    centres = 3 * random.standard_normal((3, size))
    return torch.from_numpy(centres[np.arange(num) % 3] + random.standard_normal((num, size)))


def mixture(x: Tensor, covariance: str, num_components: int = 3, **options: Any) -> GMM:
    """Of these data in float64, started at the first of them."""
    spec = DataSpec("clusters", x.shape[1], "real", num_data=len(x))
    pair = GMM(spec, num_components, covariance=covariance, **options).double()  # type: ignore[arg-type]
    pair.start_at(means=x[:num_components])
    return pair


def trained(pair: GMM, x: Tensor, epochs: int, objective: EM | None = None, **options: Any) -> Any:
    options = {"batch_size": len(x), "seed": 0, "progress": False, **options}
    return ppgen.fit(pair, x, objective or EM(), epochs=epochs, **options)


KINDS = {"diagonal": "diag", "spherical": "spherical", "full": "full", "tied": "tied"}
PRECISIONS = {"diag": np.ones((3, 2)), "spherical": np.ones(3), "full": np.stack([np.eye(2)] * 3), "tied": np.eye(2)}


@pytest.mark.parametrize("covariance", KINDS)
@pytest.mark.parametrize("epochs", [1, 2, 7])
def test_em_is_that_of_scikit_learn_from_the_same_start(covariance: str, epochs: int) -> None:
    x = clusters()
    pair = mixture(x, covariance)
    kind = KINDS[covariance]
    options = {"weights_init": np.ones(3) / 3, "means_init": x[:3].numpy(), "precisions_init": PRECISIONS[kind]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it has not converged
        known = GaussianMixture(3, covariance_type=kind, max_iter=epochs, tol=0.0, reg_covar=0.0, **options)
        known.fit(x.numpy())
    trained(pair, x, epochs)
    for found, expected in (
        (pair.weights, known.weights_),
        (pair.means, known.means_),
        (pair.covariances, known.covariances_),
    ):
        np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-8, atol=1e-10)  # type: ignore[union-attr]


def test_an_epoch_of_batches_is_a_step_over_all_of_the_data() -> None:
    x = clusters(50)
    whole, parted = mixture(x, "full"), mixture(x, "full")
    trained(whole, x, 3)
    trained(parted, x, 3, batch_size=7)
    torch.testing.assert_close(parted.means, whole.means, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(parted.covariances, whole.covariances, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_likelihood_never_falls(seed: int) -> None:
    x = clusters(90, 3, seed)
    pair, before = mixture(x, "diagonal"), -float("inf")
    for _ in range(12):
        trained(pair, x, 1)
        evidence = float(pair.log_evidence(x).mean().detach())
        assert evidence >= before - 1e-12
        before = evidence


def test_hard_em_of_far_clusters_is_the_moments_of_each() -> None:
    x = torch.cat([torch.randn(20, 2, dtype=torch.float64) + at for at in (-50.0, 50.0)])
    pair = mixture(x, "full", 2)
    pair.start_at(means=torch.stack([x[0], x[-1]]))
    trained(pair, x, 2, EM(hard=True))
    torch.testing.assert_close(pair.means[0].detach(), x[:20].mean(0))
    torch.testing.assert_close(pair.covariances[1].detach(), x[20:].T.cov(correction=0))  # type: ignore[index]


def test_online_em_comes_near_to_em() -> None:
    """It begins 0.56 nats below, and ends within a thousandth of that."""
    x = clusters(300)
    exact, online = mixture(x, "diagonal"), mixture(x, "diagonal")
    trained(exact, x, 60)
    trained(online, x, 30, EM(decay=0.6), batch_size=50)
    best = float(exact.log_evidence(x).mean().detach())
    assert float(online.log_evidence(x).mean().detach()) == pytest.approx(best, abs=5e-4)


def test_held_out_data_are_valued_and_counted_in_nowhere() -> None:
    x = clusters(30)
    pair = mixture(x, "full")
    program = Program(pair.model, pair.guide)
    state = EM().initial_state(program, (x,))
    pair.eval()
    found = EM().play("all", program, (x[:7],), state)
    assert found.state == state
    assert not found.assigned
    torch.testing.assert_close(found.loss / found.num_data, -pair.log_evidence(x[:7]).mean())


def test_a_mixture_of_bernoullis_is_trained() -> None:
    """Two blocks of bits: the means are their shares of ones."""
    x = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [0, 1, 1, 1]], dtype=torch.float64)
    pair = GMM(DataSpec("bits", 4, "binary", num_data=4), 2).double()
    pair.start_at(means=[[0.9, 0.9, 0.1, 0.1], [0.1, 0.1, 0.9, 0.9]])
    trained(pair, x, 1, EM(hard=True))
    expected = torch.tensor([[1, 1, 0.5, 0], [0, 0.5, 1, 1]], dtype=torch.float64)
    torch.testing.assert_close(pair.means.detach(), expected, rtol=0, atol=1e-9)


def test_a_run_of_em_is_resumed_where_it_was(tmp_path: Path) -> None:
    x = clusters(30).float()
    data = ppgen.Dataset(DataSpec("clusters", 2, "real", num_data=30), (x,), (x,), (x,))
    for out, epochs in (("once", (5,)), ("twice", (2, 5))):
        for number, upto in enumerate(epochs):
            torch.manual_seed(0)
            pair = ppgen.make_pair("gmm", data.spec, num_components=2, regularisation=0.1)
            options = {"batch_size": 8, "seed": 0, "progress": False, "resume": number > 0}
            ppgen.fit(pair, data, EM(), epochs=upto, out=tmp_path / out, **options)  # type: ignore[arg-type]
    once, twice = (ppgen.load(tmp_path / name, data=data).pair.means for name in ("once", "twice"))
    assert torch.equal(once, twice)


def test_a_run_that_is_refused_before_anything_is_kept_leaves_no_folder(tmp_path: Path) -> None:
    """At its second turn, when all data have been seen; after an epoch that was kept it stays, and goes on."""
    x = torch.cat([torch.zeros(6, 2), 50 + torch.randn(6, 2)])
    data = ppgen.Dataset(DataSpec("clusters", 2, "real", num_data=12), (x,), (x,), (x,))
    for checkpoint_every, is_left in ((None, False), (1, True)):
        pair = GMM(data.spec, 2, covariance="full")
        pair.start_at(means=[[0.0, 0.0], [50.0, 50.0]])
        options = {"batch_size": 6, "progress": False, "checkpoint_every": checkpoint_every}
        with pytest.raises(UsageError, match="the covariance of component 0 is singular"):
            ppgen.fit(pair, data, EM(), epochs=3, out=tmp_path / str(is_left), **options)  # type: ignore[arg-type]
        assert (tmp_path / str(is_left) / "checkpoint.safetensors").exists() == is_left
        assert (tmp_path / str(is_left)).exists() == is_left


def test_a_singular_covariance_is_named() -> None:
    x = torch.cat([torch.zeros(5, 2), torch.randn(9, 2) + 50]).double()
    pair = mixture(x, "full", 2)
    pair.start_at(means=[[0.0, 0.0], [50.0, 50.0]])
    with pytest.raises(UsageError, match=r"the covariance of component 0 is singular, .* regularisation=1e-06"):
        trained(pair, x, 1)
    kept = mixture(x, "full", 2, regularisation=1e-3)
    kept.start_at(means=[[0.0, 0.0], [50.0, 50.0]])
    trained(kept, x, 1)
    torch.testing.assert_close(kept.covariances[0].detach(), 1e-3 * torch.eye(2).double())  # type: ignore[index]


def test_a_component_without_data_is_named() -> None:
    x = clusters()
    pair = mixture(x, "diagonal")
    pair.start_at(means=torch.stack([x[0], x[1], torch.full((2,), 1e6).double()]))
    with pytest.raises(UsageError, match=r"component 2 of 3 is left without data: take fewer components"):
        trained(pair, x, 1)


def test_what_has_no_closed_form_is_refused() -> None:
    x = torch.randn(5, 2)
    for pair in (GAN(DataSpec("plane", 2, "real")), GMM(DataSpec("plane", 2, "real", num_data=5), 2, bayesian=True)):
        why = EM().refuses(Program(pair.model, pair.guide), (x,)) or ""
        assert why.startswith(f"EM takes both steps in closed form, and {type(pair).__name__} as it is made has none")
    with pytest.raises(UsageError, match="decay of EM must be"):
        EM(decay=0.5)
