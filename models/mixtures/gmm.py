"""The mixture: a datum belongs to one of C components, and which one is summed out.

    p(c)     = Categorical(w)                       c in 0..C-1; w: (C,)
    p(x | c) = N(m_c, diag(s_c)^2)                  "diagonal"; m, s: (C, D)
               N(m_c, s_c^2 I)                      "spherical"; s: (C,)
               N(m_c, S_c S_c')                     "full"; S: (C, D, D), lower triangular
               N(m_c, S S')                         "tied"; S: (D, D), lower triangular
               prod_d Bernoulli(sigmoid(l_cd))      binary data; l: (C, D)

    log p(x) = log sum_c w_c p(x | c)               (nats), exact: c is left out of the guide

Weights and components are parameters, or latents of the whole data set outside the data plate,

    w ~ Dirichlet(a, ..., a),   m_cd or l_cd ~ N(mu_d, r^2),   s_cd ~ LogNormal(log r, 1),

with mu the training mean (its logit for binary data) and r the scale one starts at, and a guide of the same families,

    q = Dirichlet(b)  prod_cd N(m_cd | ., .)  prod_cd LogNormal(s_cd | ., .).

``em`` has both steps in closed form where components are parameters, with r_nc = p(c | x_n):

    w_c = sum_n r_nc / N,   m_c = sum_n r_nc x_n / sum_n r_nc,   S_c = sum_n r_nc (x_n - m_c)(x_n - m_c)' / sum_n r_nc

Components are exchangeable, and log p(x) has C! equal optima and many poor ones: where it ends depends on where it
starts. By default components start around the training mean; ``start`` puts them at training data, and
:meth:`GMM.start_at` anywhere else.

Reference: Maximum likelihood from incomplete data via the EM algorithm, Dempster, Laird and Rubin, 1977, section 4.3.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ppgen.arguments import Count, NonNegative, Positive, at_most_data
from ppgen.data import DataSpec
from ppgen.distributions.components import (
    Bernoullis,
    Chosen,
    Components,
    DiagonalGaussians,
    FullGaussians,
    SphericalGaussians,
    TiedGaussians,
)
from ppgen.distributions.of_particles import of_particles
from ppgen.errors import UsageError, setting, shown
from ppgen.pairs.pair import Pair
from ppgen.pairs.starting import DataStart, Start
from ppgen.registry import Recommended, register_model

__all__ = ["GMM"]

Covariance = Literal["diagonal", "spherical", "full", "tied"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 2, "real", num_data=20)
    return GMM(spec, 3, bayesian=True), (torch.randn(5, 2),)


@register_model(
    "gmm",
    summary="mixture of Gaussians or Bernoullis, assignments summed out; components parameters or global latents",
    reference="Dempster, Laird and Rubin, Maximum likelihood from incomplete data via the EM algorithm",
    year=1977,
    link="https://doi.org/10.1111/j.2517-6161.1977.tb01600.x",
    tags=("discrete", "mixture", "exact"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 1_200, "batch_size": 500, "lr": 0.05}),
)
class GMM(Pair):
    """Mixture of Gaussians, or of Bernoullis for binary data. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        weights: (C,), on the simplex, global; only with ``bayesian=True``, as ``locs`` and ``scales`` are
        locs: (C, D), real, global: means, or logits of binary data
        scales: (C, D), positive, global: standard deviations; not of binary data
        c: (), an index 0..C-1, in the plate ``data``; the model's alone, marked for parallel enumeration
        x: (D,), observed, in the plate ``data``

    Args:
        spec: what one datum is: real or binary; components start around its mean.
        num_components: C.
        covariance: of a Gaussian component, ``"diagonal"``, ``"spherical"`` or ``"full"``, or ``"tied"``, full and the
            same for all; not looked at for binary data.
        bayesian: weights and components are latents with a prior, not parameters; diagonal only.
        start: ``"mean"``, around the training mean; ``"data"``, at training data drawn at random, or ``"kmeans++"``,
            at data far from one another (:mod:`ppgen.pairs.starting`): there in the first step of a training.
        scale: the standard deviation a Gaussian component starts with, and how far apart components start, about
            that of the data; for binary data how far apart their logits start.
        concentration: a, of the prior of the weights.
        regularisation: what the M step of ``em`` adds to every variance; not to those of binary data.

    Raises:
        UsageError: the data are neither real nor binary, a size or scale is not positive, the covariance is unknown,
            or a full one is asked to be latent.

    >>> pair = GMM(DataSpec("numbers", 1, "real"), num_components=2)
    >>> pair.start_at(means=[[-3.0], [3.0]])
    >>> pair.responsibilities(torch.tensor([[-3.0], [0.0]])).detach()
    tensor([[1.0000e+00, 1.5230e-08],
            [5.0000e-01, 5.0000e-01]])
    """

    def __init__(
        self,
        spec: DataSpec,
        num_components: Count = 10,
        *,
        covariance: Covariance = "diagonal",
        bayesian: bool = False,
        start: Start = "mean",
        scale: Positive = 1.0,
        concentration: Positive = 1.0,
        regularisation: NonNegative = 0.0,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.num_components, self.regularisation = num_components, regularisation
        self.has_closed_form = not bayesian
        if not bayesian:
            at_most_data("GMM", "num_components", num_components, spec.num_data)
        self.family = _family(spec, covariance, bayesian)
        centre = self.family.locs_of(spec.centre)  # (D,)
        locs = centre + scale * torch.randn(num_components, spec.num_features)  # (C, D)
        log_weights = torch.full((num_components,), -math.log(num_components))
        first = (log_weights, self.family(locs, self.family.start_scales(locs, scale)))
        self.values: _Values = _Parameters(*first)
        if bayesian:
            self.values = _Latents(*first, concentration, centre, scale, spec.num_data or 1)
        self.start = DataStart(start)

    def model(self, x: Tensor) -> None:
        log_weights, components = self.values.prior()
        with self.data_plate(x):
            c = pyro.sample("c", dist.Categorical(logits=log_weights), infer={"enumerate": "parallel"})  # (C, K, B)
            pyro.sample("x", Chosen(components, c), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        self.values.posterior()

    @property
    def weights(self) -> Tensor:
        """w, (C,); what is latent is given at the guide's centre."""
        return self.values.centre()[0].exp()

    @property
    def means(self) -> Tensor:
        """E[x | c], (C, D); probabilities of binary data."""
        return self.values.centre()[1].means

    @property
    def covariances(self) -> Tensor | None:
        """As scikit-learn has them: variances (C, D) or (C,), matrices (C, D, D) or (D, D); None of binary data."""
        return self.values.centre()[1].covariances

    def responsibilities(self, x: Tensor) -> Tensor:
        """p(c | x), (B, D) to (B, C); at the guide's centre where components are latent."""
        return self._log_joint(x).softmax(-1)

    category_probs = responsibilities

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x), (B, D) to (B,), in nats; at the guide's centre where components are latent."""
        return self._log_joint(x).logsumexp(-1)

    def expected_statistics(self, x: Tensor, *, hard: bool = False) -> dict[str, Tensor]:
        """Sums over data x, (B, D), of responsibilities, ``weights`` (C,), and of what they weigh; in float64."""
        r = self.responsibilities(x).double()
        r = one_hot(r.argmax(-1), self.num_components).to(r) if hard else r
        return {"count": r.new_full((), len(x)), "weights": r.sum(0), **self.family.statistics(x.double(), r)}

    def maximised(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights, means and covariances of the greatest expected log-likelihood: moments weighed by r.

        Raises:
            UsageError: a component is left without data, or its covariance is singular.
        """
        weights = statistics["weights"]
        if bool((empty := weights <= torch.finfo(weights.dtype).eps).any()):
            raise UsageError(
                f"component {int(empty.nonzero()[0])} of {self.num_components} is left without data: take fewer "
                f"components, or start them at data, {setting('M', 'start', 'kmeans++')}."
            )
        components = self.family.maximised(weights, statistics, self.regularisation)
        return {f"values.{n}": v.to(self.values.centre()[0]) for n, v in _free(weights.log(), components).items()}

    @torch.no_grad()
    def start_at(self, means: Any, covariances: Any = None, weights: Any = None) -> None:
        """Let training start where another method starts or ends; what is None stays.

        Args:
            means: (C, D), tensor or array, as scikit-learn's ``means_``; of binary data probabilities, which are
                clipped to [0.001, 0.999].
            covariances: as ``covariances_``: variances (C, D) or (C,), matrices (C, D, D), or one, (D, D).
            weights: as ``weights_``, (C,), positive.

        Raises:
            UsageError: a shape differs, something is not positive, or binary data are given covariances.
        """
        log_weights, now = self.values.centre()
        locs, scales = self.family.locs_of(_as("means", means, now.means)), now.scales
        if covariances is not None:
            like = now.locs if now.covariances is None else now.covariances
            scales = self.family.scales_of(_as("covariances", covariances, like))
        if weights is not None:
            given = _as("weights", weights, log_weights)
            if not bool((given > 0).all()):
                raise UsageError(f"weights must be positive, and the least is {float(given.min()):g}.")
            log_weights = given.log()
        self.values.start_at(log_weights, self.family(locs, scales))
        self.start.end()

    @property
    def waits_for_data(self) -> bool:
        """Whether ``start`` asks for data, and there were none yet."""
        return self.start.waits

    def start_from(self, x: Tensor, *, seed: int) -> None:
        """Put the means at data of x, (N, D), as ``start`` says; of binary data half way from their mean to them.

        Raises:
            UsageError: there are fewer different data than components.
        """
        chosen = self.start.chosen(x, self.num_components, seed=seed)  # (C, D)
        self.start_at(chosen if self.family is not Bernoullis else (chosen + x.mean(0)) / 2)

    def _log_joint(self, x: Tensor) -> Tensor:
        """log p(x, c), (B, C)."""
        log_weights, components = self.values.centre()
        return log_weights + components.table(x)


_Point = tuple[Tensor, Components]
"""log w, (C,), or (K, 1, C) of K particles, and the components."""


def _free(log_weights: Tensor, components: Components) -> dict[str, Tensor]:
    """Parameters, by name, that stand for these."""
    scales = {} if components.scales is None else {"free_scales": components.free(components.scales)}
    return {"logits": log_weights.log_softmax(-1), "locs": components.locs, **scales}


class _Values(nn.Module, ABC):
    """Weights and components of the model and of the guide."""

    @abstractmethod
    def centre(self) -> _Point:
        """The parameters, or what the guide's latents lie around."""

    @abstractmethod
    def start_at(self, log_weights: Tensor, components: Components) -> None:
        """Put :meth:`centre` there."""

    @abstractmethod
    def prior(self) -> _Point:
        """The model's."""

    @abstractmethod
    def posterior(self) -> None:
        """The guide's sites, if any."""


class _Parameters(_Values):
    """``logits`` of w, (C,), ``locs``, and ``free_scales``: logarithms, of a Cholesky factor those of its diagonal."""

    def __init__(self, log_weights: Tensor, components: Components) -> None:
        super().__init__()
        self.family = type(components)
        self.logits = nn.Parameter(log_weights)
        self.locs = nn.Parameter(components.locs)
        scales = components.scales
        self.free_scales = None if scales is None else nn.Parameter(self.family.free(scales))

    def centre(self) -> _Point:
        free = self.free_scales
        scales = None if free is None else self.family.constrained(free)
        return self.logits.log_softmax(-1), self.family(self.locs, scales)

    def start_at(self, log_weights: Tensor, components: Components) -> None:
        for name, value in _free(log_weights, components).items():
            getattr(self, name).copy_(value)

    def prior(self) -> _Point:
        return self.centre()

    def posterior(self) -> None:
        pass


class _Latents(_Values):
    """``log_concentration`` log b, (C,); ``*_loc`` and ``*_log_sd`` of the Gaussians of locs and log-scales, (C, D)."""

    prior_loc: Tensor

    def __init__(
        self,
        log_weights: Tensor,
        components: Components,
        concentration: float,
        prior_loc: Tensor,
        prior_scale: float,
        num_data: int,
    ) -> None:
        super().__init__()
        self.family, self.concentration, self.num_data = type(components), concentration, num_data
        self.prior_scale = prior_scale
        self.register_buffer("prior_loc", prior_loc.expand_as(components.locs).clone())
        narrow = components.locs.new_full((), math.log(prior_scale) - 0.5 * math.log1p(num_data / len(log_weights)))
        self.log_concentration = nn.Parameter(torch.zeros_like(log_weights))
        self.locs_loc = nn.Parameter(components.locs)
        self.locs_log_sd = nn.Parameter(narrow.expand_as(components.locs).clone())
        if components.scales is not None:
            self.log_scales_loc = nn.Parameter(components.scales.log())
            self.log_scales_log_sd = nn.Parameter((narrow - math.log(prior_scale)).expand_as(components.locs).clone())
        self.has_scales = components.scales is not None
        self.start_at(log_weights, components)

    def centre(self) -> _Point:
        scales = self.log_scales_loc.exp() if self.has_scales else None
        return self.log_concentration.log_softmax(-1), self.family(self.locs_loc, scales)

    @torch.no_grad()
    def start_at(self, log_weights: Tensor, components: Components) -> None:
        self.log_concentration.copy_((self.concentration + self.num_data * log_weights.softmax(-1)).log())
        self.locs_loc.copy_(components.locs)
        if components.scales is not None:
            self.log_scales_loc.copy_(components.scales.log())

    def prior(self) -> _Point:
        weights = pyro.sample("weights", dist.Dirichlet(torch.full_like(self.log_concentration, self.concentration)))
        locs = pyro.sample("locs", dist.Normal(self.prior_loc, self.prior_scale).to_event(2))  # (C, D), or (K, 1, C, D)
        scales = None
        if self.has_scales:
            log_scale = torch.full_like(self.locs_loc, math.log(self.prior_scale))
            scales = of_particles(pyro.sample("scales", dist.LogNormal(log_scale, 1.0).to_event(2)))
        log_weights = weights.clamp_min(torch.finfo(weights.dtype).tiny).log()  # a draw of no weight has a logarithm
        return log_weights, self.family(of_particles(locs), scales)

    def posterior(self) -> None:
        pyro.sample("weights", dist.Dirichlet(self.log_concentration.exp()))  # (C,), or (K, 1, C)
        pyro.sample("locs", dist.Normal(self.locs_loc, self.locs_log_sd.exp()).to_event(2))  # (C, D), or (K, 1, C, D)
        if self.has_scales:
            scales = dist.LogNormal(self.log_scales_loc, self.log_scales_log_sd.exp())
            pyro.sample("scales", scales.to_event(2))  # (C, D), or (K, 1, C, D)


def _family(spec: DataSpec, covariance: Covariance, bayesian: bool) -> type[Components]:
    if spec.observation == "binary":
        return Bernoullis
    if spec.observation != "real":
        raise UsageError(f"GMM needs real or binary data, but data {shown(spec.name)} are {spec.in_words}.")
    if covariance != "diagonal" and bayesian:
        raise UsageError(
            f"covariance={shown(covariance)} is for parameters, and got bayesian=True: choose covariance='diagonal'."
        )
    return _GAUSSIANS[covariance]


_GAUSSIANS: dict[Covariance, type[Components]] = {
    "diagonal": DiagonalGaussians,
    "spherical": SphericalGaussians,
    "full": FullGaussians,
    "tied": TiedGaussians,
}


def _as(name: str, value: Any, like: Tensor) -> Tensor:
    """``value`` in the type of ``like``, and of its shape."""
    found = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    if found.shape != like.shape:
        raise UsageError(f"{name} must have shape {tuple(like.shape)}, got {tuple(found.shape)}.")
    return found
