"""InferenceData of pairs, of SVI with any guide and of MCMC: what stands in it, and that ArviZ works on it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from pyro.optim import ClippedAdam
from torch import Tensor

import ppgen
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import ELBO
from ppgen.models import LinearGaussian
from ppgen.pairs.log_weights import log_weights
from ppgen.pairs.looking import looked_at
from ppgen.pairs.pair import Pair
from ppgen.posterior.groups import numbers_of_a_draw
from ppgen.posterior.inference_data import to_inference_data, write_posterior
from ppgen.registry import MODELS
from tests.posterior.eight_schools import (
    EFFECTS,
    ERRORS,
    POSTERIOR_GROUPS,
    PRIOR_GROUPS,
    centred,
    non_centred,
)

az: Any = importlib.import_module("arviz")  # it is not typed throughout


def tiny(name: str) -> tuple[Pair, tuple[Tensor, ...]]:
    spec = MODELS[name]
    assert spec.tiny is not None
    case: tuple[Pair, tuple[Tensor, ...]] = spec.tiny()
    return case


def trained(model: Callable[..., None], guide: Any, steps: int = 1500) -> SVI:
    svi = SVI(
        model,
        guide,
        ClippedAdam({"lr": 0.02}),
        Trace_ELBO(num_particles=10, vectorize_particles=True, max_plate_nesting=1),
    )
    for _ in range(steps):
        svi.step(ERRORS, EFFECTS)
    return svi


def gaussian(guide: Any = "full", scale: float = 1.0) -> tuple[LinearGaussian, tuple[Tensor, ...]]:
    """One-dimensional, with the exact posterior as guide, its scale multiplied."""
    pair = LinearGaussian(DataSpec("numbers", 3, "real"), 1, guide=guide).double()
    pair.set_exact_guide()
    with torch.no_grad():
        pair.guide_scale.add_(np.log(scale))
    return pair, (torch.randn(4, 3, dtype=torch.float64),)


EXACT = (
    *("classifier", "fvbn", "ica", "made", "maf", "markov", "nade", "neural_spline", "nmf", "pixelcnn", "pixelrnn"),
    *("plsa", "rnade"),
)
"""Pairs without latents."""


@pytest.mark.parametrize("name", MODELS)
def test_groups_are_those_that_the_pair_is_capable_of(name: str) -> None:
    pair, batch = tiny(name)
    groups = set(to_inference_data(pair, batch, num_samples=3).groups())
    expected = {"observed_data"} | (POSTERIOR_GROUPS if pair.has_weights else set()) | PRIOR_GROUPS
    if not pair.normalised:
        expected = {"sample_stats"} | ({"posterior"} if looked_at(pair, batch).latents else set())
    elif name in EXACT:
        expected = {"observed_data", "sample_stats", *PRIOR_GROUPS} - {"prior"}  # there is nothing to infer
    assert groups == expected


def test_dims_are_plates_and_numbered_event_dims() -> None:
    pair, batch = tiny("vae")
    idata = to_inference_data(pair, batch, num_samples=7)
    assert idata.posterior["z"].sizes == {"chain": 1, "draw": 7, "data": 5, "z_dim_0": 2}
    assert idata.log_likelihood["x"].sizes == {"chain": 1, "draw": 7, "data": 5}
    assert idata.observed_data["x"].sizes == {"data": 5, "x_dim_0": 6}
    np.testing.assert_array_equal(idata.observed_data["x"], batch[0])


def test_latents_outside_the_plate_have_no_data_dim_and_a_weight_of_their_own() -> None:
    pair, batch = tiny("lda")
    idata = to_inference_data(pair, batch, num_samples=7)
    assert "data" not in idata.posterior["log_topics"].dims
    assert idata.sample_stats["log_weight"].dims == ("chain", "draw", "data")
    assert idata.sample_stats["log_weight_global"].dims == ("chain", "draw")


def test_users_names_and_coordinates_are_taken() -> None:
    pair, batch = tiny("vae")
    names = {"z": ["latent"], "x": ["pixel"]}
    idata = to_inference_data(
        pair, batch, num_samples=3, dims=names, coords={"data": list("abcde"), "latent": ["u", "v"]}
    )
    assert idata.posterior["z"].sel(data="b", latent="v").shape == (1, 3)
    assert idata.posterior_predictive["x"].dims[-1] == "pixel"


def test_log_weights_are_the_evidence_under_an_exact_guide() -> None:
    pair, batch = gaussian()
    stats = to_inference_data(pair, batch, num_samples=6).sample_stats
    expected = pair.log_evidence(*batch).detach().expand(6, 4)
    np.testing.assert_allclose(stats["log_weight"].values[0], expected, rtol=1e-10)


def test_log_likelihood_is_that_of_the_draws() -> None:
    pair, (x,) = gaussian()
    idata = to_inference_data(pair, (x,), num_samples=6)
    z = torch.tensor(idata.posterior["z"].values[0])
    expected = dist.Normal(z @ pair.weight.T + pair.loc, pair.log_noise.exp()).log_prob(x).sum(-1)
    np.testing.assert_allclose(idata.log_likelihood["x"].values[0], expected.detach(), rtol=1e-10)


def test_weights_are_those_of_log_weights_in_distribution() -> None:
    pair, batch = gaussian(scale=1.5)
    ours = to_inference_data(pair, batch, num_samples=20_000).sample_stats["log_weight"].values[0]
    theirs = log_weights(pair, batch, 20_000).numpy()
    error = np.hypot(ours.std(0), theirs.std(0)) / np.sqrt(20_000)
    assert np.all(np.abs(ours.mean(0) - theirs.mean(0)) < 5 * error)  # false alarms: 4 * 6e-7


def test_prior_and_posterior_predictive_have_their_moments() -> None:
    pair, (x,) = gaussian()
    idata = to_inference_data(pair, (x,), num_samples=20_000)
    marginal = (pair.weight @ pair.weight.T).diagonal() + (2 * pair.log_noise).exp()
    prior = idata.prior_predictive["x"].values[0]  # (S, B, D)
    np.testing.assert_allclose(prior.var((0, 1)), marginal.detach(), rtol=0.04)  # sd 0.005: 8 sigma
    posterior = pair.posterior(x)
    mean = posterior.mean @ pair.weight.T + pair.loc
    sd = idata.posterior_predictive["x"].values[0].std(0)
    error = np.abs(idata.posterior_predictive["x"].values[0].mean(0) - mean.detach().numpy()) / (sd / np.sqrt(20_000))
    assert error.max() < 5.5  # false alarms: 12 * 4e-8


def test_resampled_draws_are_of_the_posterior_and_say_so() -> None:
    pair, (x,) = gaussian(scale=2.0)  # too wide, so that weights are bounded
    idata = to_inference_data(pair, (x,), num_samples=20_000, resampled_from=100_000)
    exact = pair.posterior(x)
    z = idata.posterior["z"].values[0, :, :, 0]  # (S, B)
    sd = exact.variance.sqrt().detach().numpy()[:, 0]
    # weights exp(-3 t^2 / 2), t ~ N(0, 1), have an effective size of sqrt(7) / 4 of the candidates': 66,000
    error = sd * np.sqrt(1 / 20_000 + 1 / 66_000)
    assert np.all(np.abs(z.mean(0) - exact.mean.detach().numpy()[:, 0]) < 5 * error)  # false alarms: 4 * 6e-7
    np.testing.assert_allclose(z.std(0), sd, rtol=0.04)  # 7 standard errors; the guide's own are twice as wide
    assert idata.posterior.attrs["draws"] == "importance-resampled"
    assert len(idata.sample_stats.attrs["pareto_k"]) == 4
    assert "log_weight" not in idata.sample_stats


def test_guide_draws_are_marked_with_versions() -> None:
    attrs = to_inference_data(*gaussian(), num_samples=3).posterior.attrs
    assert attrs["draws"] == "guide"
    assert attrs["inference_library_version"] == ppgen.__version__
    assert {"pyro_version", "torch_version", "arviz_version"} <= set(attrs)


def test_one_resampled_draw_keeps_latents_of_the_whole_together() -> None:
    """Where a latent stands outside the plate, a draw of all latents is taken as one."""
    pair, batch = Whole(), (torch.randn(3, 2),)
    idata = to_inference_data(pair, batch, num_samples=50, resampled_from=100)
    z, mean = idata.posterior["z"].values[0], idata.posterior["mean"].values[0]
    np.testing.assert_allclose(z, np.broadcast_to(mean[:, None], z.shape), atol=1e-3)  # 10 sd


class Whole(Pair):
    """A global mean, and local latents drawn within a hair of it."""

    def model(self, x: Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(x.new_zeros(()), 100.0))
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(mean, 1e-4))
            pyro.sample("x", dist.Normal(x.new_zeros(2), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(x.new_zeros(()), 100.0))
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(mean, 1e-4))


class Wide(Pair):
    """A global latent, which the guide draws twice as wide as it is, and a local one; x tells of neither."""

    def model(self, x: Tensor) -> None:
        pyro.sample("mean", dist.Normal(x.new_zeros(()), 1.0))
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Uniform(x.new_zeros(()), 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.sample("mean", dist.Normal(x.new_zeros(()), 2.0))
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))


def test_a_latent_of_the_whole_is_resampled_by_its_own_weight_too() -> None:
    idata = to_inference_data(Wide(), (torch.full((3,), 0.5),), num_samples=4000, resampled_from=20_000)
    assert idata.posterior["mean"].values.std() == pytest.approx(1, abs=0.06)  # 5 standard errors


class Known(Wide):
    """The guide is the posterior."""

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Uniform(x.new_zeros(()), 1.0), obs=x)


def test_equal_weights_have_no_tail() -> None:
    idata = to_inference_data(Known(), (torch.full((3,), 0.5),), num_samples=5, resampled_from=100)
    assert idata.sample_stats.attrs["pareto_k"] == [0.0, 0.0, 0.0]


def test_the_same_seed_gives_the_same_draws_and_leaves_the_random_state() -> None:
    pair, batch = gaussian()
    state = torch.get_rng_state()
    first, second = (to_inference_data(pair, batch, num_samples=3, seed=1).posterior["z"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.thorough
def test_khat_tells_centred_from_non_centred_eight_schools() -> None:
    """Yao et al. 2018, section 4.2: with mean-field Gaussians about 1.0 and about 0.64."""
    k = {}
    for model in (centred, non_centred):
        pyro.clear_param_store()
        svi = trained(model, AutoNormal(model), steps=1500)
        joint = to_inference_data(svi, (ERRORS, EFFECTS), num_samples=40_000, data_plate="")
        weights = joint.sample_stats["log_weight"]
        k[model] = float(az.psislw(weights.values[0])[1])
    assert k[centred] > 0.8
    assert k[non_centred] < 0.7


@pytest.mark.parametrize("guide", [AutoNormal, AutoMultivariateNormal])
def test_svi_with_a_stock_guide_converts(guide: Any) -> None:
    svi = trained(non_centred, guide(non_centred), steps=20)
    idata = to_inference_data(svi, (ERRORS, EFFECTS), num_samples=50)
    assert idata.posterior["t"].dims == ("chain", "draw", "school")
    assert idata.sample_stats["log_weight"].dims == ("chain", "draw", "school")
    theta = idata.posterior["mu"] + idata.posterior["tau"] * idata.posterior["t"]
    np.testing.assert_allclose(idata.posterior["theta"].transpose(*theta.dims), theta, rtol=1e-5)


def test_svi_of_a_pair_is_that_pair() -> None:
    pair, batch = tiny("vae")
    svi = SVI(pair.model, pair.guide, ClippedAdam({}), Trace_ELBO())
    assert to_inference_data(svi, batch, num_samples=3).posterior["z"].sizes["data"] == 5


@pytest.mark.parametrize("name", [None, "school"])
def test_a_data_plate_of_another_name_is_found(name: str | None) -> None:
    svi = trained(centred, AutoNormal(centred), steps=2)
    stats = to_inference_data(svi, (ERRORS, EFFECTS), num_samples=3, data_plate=name).sample_stats
    assert stats["log_weight"].dims == ("chain", "draw", "school")
    assert stats["log_weight_global"].dims == ("chain", "draw")


@pytest.mark.filterwarnings("ignore:Passing a dict or None as alias_mapping")  # ArviZ 0.23 with matplotlib 3.11
@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto distribution")
def test_arviz_works_on_the_file(tmp_path: Path) -> None:
    pair, (x,) = gaussian()
    path = write_posterior(pair, (x,), tmp_path / "posterior.nc", num_samples=200, resampled_from=1000)
    idata = az.from_netcdf(path)
    assert list(tmp_path.iterdir()) == [path]
    assert len(az.summary(idata, var_names=["z"], kind="stats")) == 4
    assert az.loo(idata).n_data_points == 4
    assert len(idata.sample_stats.attrs["pareto_k"]) == 4
    with mpl.rc_context({"backend": "agg"}):
        az.plot_trace(idata, var_names=["z"])
        az.plot_ppc(idata, num_pp_samples=20)
        mpl.pyplot.close("all")


def test_a_diagnosed_run_keeps_its_posterior(tmp_path: Path) -> None:
    data = ppgen.load_data("linear_gaussian")
    pair = ppgen.make_pair("linear_gaussian", data.spec)
    run = ppgen.fit(pair, data, ELBO(), steps=2, eager=True, out=tmp_path / "run")
    found = run.diagnose(num_data=20, num_particles=200, questions=["importance"])
    idata = az.from_netcdf(tmp_path / "run" / "posterior.nc")
    assert idata.posterior.attrs["diagnosis_importance"] == found["importance"].number
    assert idata.posterior.sizes["data"] == 16
    np.testing.assert_array_equal(idata.observed_data["x"], data.test[0][:16])


def test_a_file_holds_fewer_draws_where_each_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair, batch = tiny("lda")
    each = 2 * (2 * 6 + 5 * 2 + 5 * 6)  # log_topics, log_theta and x, of posterior and prior
    assert numbers_of_a_draw(pair, batch) == each
    monkeypatch.setattr("ppgen.posterior.inference_data._FILE", 3 * each)
    idata = az.from_netcdf(write_posterior(pair, batch, tmp_path / "posterior.nc"))
    assert idata.posterior.sizes["draw"] == 3


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        write_posterior(*gaussian(), tmp_path / "nowhere" / "posterior.nc", num_samples=2)


@pytest.mark.parametrize(
    ("source", "batch", "options", "sentence"),
    [
        (3, (EFFECTS,), {}, "expected a pair"),
        (gaussian()[0], None, {}, "expected the batch"),
        (*gaussian(), {"num_samples": 0}, "at least 1, got 0"),
        (*gaussian(), {"resampled_from": 0}, "at least 1, got 0"),
        (*tiny("gan"), {"resampled_from": 10}, "is implicit"),
        (*tiny("lda"), {"resampled_from": 10}, "give all data"),
        (MCMC(NUTS(centred), 2, disable_progbar=True), None, {}, r"mcmc\.run"),
        (MCMC(NUTS(centred), 2, disable_progbar=True), None, {"num_samples": 3}, "all draws"),
        (*tiny("vae"), {"dims": {"z": ["a", "b"]}}, "1 dims that are no plate's, got 2"),
    ],
)
def test_bad_input_is_one_sentence(source: Any, batch: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        to_inference_data(source, batch, **options)


@pytest.mark.thorough
def test_import_does_not_load_arviz(imported: tuple[set[str], set[str]]) -> None:
    assert not {"arviz", "xarray", "scipy", "pandas", "matplotlib"} & imported[0]
