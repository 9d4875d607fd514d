"""k-means: every datum belongs to the nearest of C centres; a mixture of round Gaussians of one size, equally likely.

    p(c)     = 1 / C                    c in 0..C-1
    p(x | c) = N(m_c, s^2 I)            m: (C, D); s: (), one for all components and features

    log p(x) = log (1 / C) sum_c N(x; m_c, s^2 I)          (nats), exact: c is left out of the guide

The most probable component is that of the nearest centre, whatever s, so that hard ``em`` is Lloyd's algorithm,

    c_n = argmin_c |x_n - m_c|^2,       m_c = mean of the x_n with c_n = c,

which never raises the inertia, sum_n |x_n - m_c_n|^2: with s at its maximum of the likelihood of x and c,
s^2 = inertia / (N D), it climbs log p(x, c). As s goes to zero, where it is given and held, the responsibilities

    p(c | x) proportional to exp(-|x - m_c|^2 / 2 s^2)

go to 0 and 1, so that ``em`` itself, which weighs by them, becomes Lloyd's algorithm: k-means is the limit of the
mixture ``gmm`` with ``covariance="spherical"`` and variances that are equal and go to zero.

Reference: Least squares quantization in PCM, Lloyd, 1957 (IEEE Trans. Information Theory, 1982).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ppgen.arguments import Count, Positive, at_most_data
from ppgen.data import DataSpec
from ppgen.distributions.components import Chosen, SphericalGaussians
from ppgen.errors import UsageError, setting, shown
from ppgen.pairs.pair import Pair
from ppgen.pairs.starting import DataStart, Start
from ppgen.registry import Recommended, register_model

__all__ = ["KMeans"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    pair = KMeans(DataSpec("tiny", 2, "real", num_data=20), 2, start="mean")
    pair.start_at([[-1.0, 0.0], [1.0, 0.0]])
    return pair, (torch.randn(5, 2) + torch.tensor([[2.0], [-2.0], [2.0], [-2.0], [2.0]]),)


@register_model(
    "kmeans",
    summary="k-means: the nearest of C centres, a mixture of round Gaussians of one size; hard em is Lloyd's algorithm",
    reference="Lloyd, Least squares quantization in PCM",
    year=1982,
    link="https://doi.org/10.1109/TIT.1982.1056489",
    tags=("discrete", "mixture", "exact"),
    tiny=_tiny,
    recommended=Recommended("em", {"hard": True}, training={"steps": 100, "batch_size": 1_000_000}),
)
class KMeans(Pair):
    """Round Gaussians of one size, equally likely. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        c: (), an index 0..C-1, in the plate ``data``; the model's alone, marked for parallel enumeration
        x: (D,), observed, in the plate ``data``

    Parameters: ``centres`` m (C, D), and ``log_scale`` log s, (), unless s is given.

    Args:
        spec: what one datum is: real.
        num_components: C, at most N where the spec knows N.
        start: where centres start, as of ``gmm``: ``"kmeans++"``, ``"data"`` or ``"mean"``.
        scale: s, in the unit of x, held there; None: it is learned.

    Raises:
        UsageError: the data are not real, a size is not positive, or there are more components than data.

    >>> pair = KMeans(DataSpec("numbers", 1, "real"), num_components=2)
    >>> pair.start_at([[-3.0], [3.0]])
    >>> x = torch.tensor([[-2.0], [4.0], [2.0]])
    >>> pair.assign(x), pair.inertia(x)
    (tensor([0, 1, 1]), tensor(3.))
    """

    centre: Tensor
    log_scale: Tensor

    def __init__(
        self,
        spec: DataSpec,
        num_components: Count = 10,
        *,
        start: Start = "kmeans++",
        scale: Positive | None = None,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        _check(spec, num_components)
        self.num_components, self.num_features, self.fixed = num_components, spec.num_features, scale is not None
        self.register_buffer("centre", spec.centre)
        self.centres = nn.Parameter(self.centre + torch.randn(num_components, spec.num_features))
        log_scale = torch.tensor(math.log(scale or 1.0))
        if self.fixed:
            self.register_buffer("log_scale", log_scale)
        else:
            self.log_scale = nn.Parameter(log_scale)
        self.start = DataStart(start)

    def model(self, x: Tensor) -> None:
        log_weights = self.centres.new_full((self.num_components,), -math.log(self.num_components))
        with self.data_plate(x):
            c = pyro.sample("c", dist.Categorical(logits=log_weights), infer={"enumerate": "parallel"})  # (C, K, B)
            pyro.sample("x", Chosen(self._components, c), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        """No latents that are not summed out: nothing to infer."""

    @property
    def scale(self) -> Tensor:
        """s, (), the standard deviation of every component and feature."""
        return self.log_scale.exp()

    @property
    def _components(self) -> _Round:
        return _Round(self.centres, self.scale.expand(self.num_components, 1))

    def assign(self, x: Tensor) -> Tensor:
        """The nearest centre of each datum, (B, D) to (B,), int64."""
        return _squared_distances(x, self.centres).argmin(-1)

    def reconstruct(self, x: Tensor) -> Tensor:
        """The nearest centre itself, (B, D): ``evaluate`` gives the inertia per datum as ``squared_error``."""
        return self.centres[self.assign(x)]

    @torch.no_grad()
    def inertia(self, x: Tensor) -> Tensor:
        """The sum over data x, (B, D), of squared distances to the nearest centre, ()."""
        return (x - self.reconstruct(x)).square().sum()

    def responsibilities(self, x: Tensor) -> Tensor:
        """p(c | x), (B, D) to (B, C)."""
        return self._components.table(x).softmax(-1)

    category_probs = responsibilities

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x), (B, D) to (B,), in nats."""
        return self._components.table(x).logsumexp(-1) - math.log(self.num_components)

    def expected_statistics(self, x: Tensor, *, hard: bool = False) -> dict[str, Tensor]:
        """``weights`` sum_n r_nc (C,), ``first`` sum_n r_nc x_n (C, D), ``second`` sum_n |x_n|^2 (); x less its mean,
        in float64."""
        away = x.double() - self.centre
        r = one_hot(self.assign(x), self.num_components) if hard else self.responsibilities(x)
        r = r.double()
        return {
            "count": r.new_full((), len(x)),
            "weights": r.sum(0),
            "first": r.mT @ away,
            "second": away.square().sum(),
        }

    def maximised(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Centres at the means of their data; s^2 the mean squared distance per number.

        Raises:
            UsageError: a centre is left without data; or s is learned and every datum is at its centre.
        """
        weights, first, second = (statistics[name] for name in ("weights", "first", "second"))
        if bool((empty := weights <= torch.finfo(weights.dtype).eps).any()):
            raise UsageError(
                f"centre {int(empty.nonzero()[0])} of {self.num_components} is left without data: take fewer "
                f"components, or start them at data far apart, {setting('M', 'start', 'kmeans++')}."
            )
        away = first / weights[:, None]
        found = {"centres": (self.centre + away).to(self.centres)}
        if self.fixed:
            return found
        variance = (second - (away * first).sum()) / (weights.sum() * self.num_features)
        if not bool(variance > 100 * torch.finfo(variance.dtype).eps * second / weights.sum()):
            raise UsageError(
                "every datum is at its centre, so that the likelihood of the scale has no maximum: take fewer "
                f"components, or give the scale, {setting('M', 'scale', 0.1)}."
            )
        return {**found, "log_scale": 0.5 * variance.log().to(self.log_scale)}

    @torch.no_grad()
    def start_at(self, centres: Any) -> None:
        """Let training start with these centres, (C, D), tensor or array, as scikit-learn's ``cluster_centers_``.

        Raises:
            UsageError: the shape differs.
        """
        found = torch.as_tensor(centres).to(self.centres)
        if found.shape != self.centres.shape:
            raise UsageError(f"centres must have shape {tuple(self.centres.shape)}, got {tuple(found.shape)}.")
        self.centres.copy_(found)
        self.start.end()

    @property
    def waits_for_data(self) -> bool:
        """Whether ``start`` asks for data, and there were none yet."""
        return self.start.waits

    @torch.no_grad()
    def start_from(self, x: Tensor, *, seed: int) -> None:
        """Put the centres at data of x, (N, D), as ``start`` says, and s, if it is learned, where they leave it.

        Raises:
            UsageError: there are fewer different data than components.
        """
        self.start_at(self.start.chosen(x, self.num_components, seed=seed))
        left = self.inertia(x.to(self.centres)) / x.numel()
        if not self.fixed and bool(left > 0):
            self.log_scale.copy_(0.5 * left.log())


class _Round(SphericalGaussians):
    """Round Gaussians whose table never holds a number for every datum, centre and feature."""

    def table(self, x: Tensor) -> Tensor:
        log_scales, size = self.scales.squeeze(-1).log(), x.shape[-1]  # (C,)
        squares = _squared_distances(x, self.locs) / self.scales.squeeze(-1).square()
        return -0.5 * squares - size * (log_scales + 0.5 * math.log(2 * math.pi))


def _squared_distances(x: Tensor, centres: Tensor) -> Tensor:
    """|x_n - m_c|^2, (..., B, D) and (C, D) to (..., B, C), about the mean of the centres, where squares are small."""
    middle = centres.mean(0)
    x, m = x - middle, centres - middle
    return x.square().sum(-1, keepdim=True) - 2 * x @ m.mT + m.square().sum(-1)


def _check(spec: DataSpec, num_components: int) -> None:
    if spec.observation != "real":
        raise UsageError(
            f"KMeans needs real data, but data {shown(spec.name)} are {spec.in_words}: take 'gmm' for binary data, "
            "or dequantise levels."
        )
    at_most_data("KMeans", "num_components", num_components, spec.num_data)
