"""The correlated topic model: shares are logistic-normal, and their covariance says which topics come together.

    z         ~ N(m, S S')                               z: (T,); m: (T,); S: (T, T), lower triangular
    theta     = softmax(z)                               theta: (T,), the document's shares of T topics
    x | theta ~ n words, each from theta beta            x: (V,), counts; n = sum_v x_v; beta: (T, V), the topics

    log p(x | theta) = sum_v x_v log (theta beta)_v + log(n! / prod_v x_v!)        (nats)

It is LDA with another prior of the shares: two shares of a Dirichlet hardly depend on each other, whatever its
concentration, and those of documents do. Each word's topic is summed out, as in LDA. m, S and beta are parameters.

The softmax does not change where the same number is added to all z_t, and so the data say nothing of m and S S' along
(1, ..., 1). What they tell is the distribution of the log-shares' differences, that of C z:

    covariance = C S S' C,        C = I - 1 1' / T,        correlation_st = cov_st / sqrt(cov_ss cov_tt)

whose rows sum to zero: with T topics of equal variance that do not depend on each other each correlation is -1/(T-1).

The guide is Laplace's approximation at each document's own mode, without parameters for a document,

    q(z | x) = N(z*, (P + s n (diag(theta*) - theta* theta*'))^-1),     z* = argmax_z log p(x, z),   P = (S S')^-1,

where s is learned: the words' topics are not known, so that they tell less than n words with topics would, s < 1. The
mode is found, without gradient, from z = m by the steps

    z <- z + (P + diag(max(c, n theta)))^-1 (c - n theta - P (z - m)),  c_t = sum_v x_v theta_t beta_tv / (theta beta)_v

which go up the gradient of log p(x, z) and are short enough where a topic's c_t words are more than its share says. Or
q(z | x) = N(loc(x), diag(scale(x))^2), both of one network of log(1 + x), batch-normalised: faster, and less good. That
a flow may bend, given the network's last layer.

The paper has a diagonal Gaussian of each document by coordinate ascent on a bound below ours, with a Taylor bound on
E log sum exp z, and m and S in closed form between; here all parameters follow one gradient.

Reference: A Correlated Topic Model of Science, Blei and Lafferty, 2007.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Ge, Len
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppgen.arguments import Count, Positive, Sizes
from ppgen.data import DataSpec
from ppgen.distributions.bag_of_words import BagOfWords
from ppgen.layers.guides import Bend, bending
from ppgen.layers.networks import MLP, BatchNorm
from ppgen.layers.words import check_counts, off_zero, start_topics
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["CTM"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five documents."""
    spec = DataSpec("tiny", 6, "counts", num_data=20)
    return CTM(spec, 2, iterations=3), (1 + torch.poisson(torch.ones(5, 6)),)


@register_model(
    "ctm",
    summary="correlated topic model: logistic-normal shares with a full covariance, Laplace or amortised guide",
    reference="Blei and Lafferty, A correlated topic model of Science",
    year=2007,
    link="https://doi.org/10.1214/07-AOAS114",
    tags=("continuous", "topics"),
    tiny=_tiny,
    recommended=Recommended("analytic_kl", training={"steps": 1_000, "batch_size": 200, "lr": 0.02}),
)
class CTM(Pair):
    """Correlated topic model. One batch is ``(x,)``, x of shape (B, V): counts of words.

    Sites:
        z: (T,), real, in the plate ``data``
        x: (V,), observed, in the plate ``data``: a :class:`ppgen.distributions.bag_of_words.BagOfWords`

    Parameters: ``prior_loc`` m (T,); ``prior_factor`` (T, T), S below its diagonal and the logarithms of S on it;
    ``topic_logits`` of beta (T, V); of the guide ``posterior.log_mass`` log s, or those of its network, which in
    training depends on the batch, through the normalisation.

    Args:
        spec: what one datum is: counts; topics start around its mean.
        num_topics: T, at least 2.
        guide: ``"document"`` (Laplace's approximation at the mode of each document), ``"amortised"`` (a network), or
            what bends the latter, a flow, ``"iaf(num=2)"``, or ``"semi_implicit"`` (:mod:`ppgen.layers.guides`).
        scale: initial standard deviation of every z_t; they start without correlation.
        iterations: steps towards the mode.
        hidden: sizes of the hidden layers of the amortised guide's network.

    Raises:
        UsageError: the data are not counts, a size or the scale is not positive, there is one topic, or the guide is
            unknown.

    >>> pair = CTM(DataSpec("documents", 50, "counts"), num_topics=3)
    >>> pair.correlation.detach()
    tensor([[ 1.0000, -0.5000, -0.5000],
            [-0.5000,  1.0000, -0.5000],
            [-0.5000, -0.5000,  1.0000]])
    """

    shares_site: ClassVar[str] = "z"
    """The latent whose softmax is a document's shares of the topics."""

    def __init__(
        self,
        spec: DataSpec,
        num_topics: Annotated[int, Ge(2)] = 50,
        *,
        guide: str = "document",
        scale: Positive = 2.0,
        iterations: Count = 10,
        hidden: Annotated[Sizes, Len(1)] = (200,),
    ) -> None:
        super().__init__(data_size=spec.num_data)
        check_counts("CTM", spec)
        self.num_topics = num_topics
        flow = bending(guide, num_topics, hidden[-1], "document", "amortised")
        self.posterior = _Laplace(iterations) if guide == "document" else _Network(spec, num_topics, hidden, flow)
        self.topic_logits = nn.Parameter(start_topics(spec, num_topics))
        self.prior_loc = nn.Parameter(torch.zeros(num_topics))
        self.prior_factor = nn.Parameter(torch.eye(num_topics) * torch.tensor(float(scale)).log())

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.MultivariateNormal(self.prior_loc, scale_tril=self.scale_tril))  # (K, B, T)
            probs = z.softmax(-1) @ self.topics  # (K, B, V)
            pyro.sample("x", BagOfWords(off_zero(probs).log(), x.sum(-1)), obs=x)  # (B, V)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", self.posterior(x, self.topics, self.prior_loc, self.scale_tril))  # (K, B, T)

    @property
    def topics(self) -> Tensor:
        """beta (T, V), rows summing to one."""
        return self.topic_logits.softmax(-1)

    @property
    def scale_tril(self) -> Tensor:
        """S (T, T), lower triangular with a positive diagonal."""
        return self.prior_factor.tril(-1) + self.prior_factor.diagonal().exp().diag()

    @property
    def covariance(self) -> Tensor:
        """That of the centred log-shares z - mean_t z_t under the prior, (T, T); its rows sum to zero."""
        centred = self.scale_tril - self.scale_tril.mean(0)  # C S
        return centred @ centred.T

    @property
    def correlation(self) -> Tensor:
        """That of the centred log-shares under the prior, (T, T)."""
        scale = self.covariance.diagonal().sqrt()
        return self.covariance / scale.outer(scale)


class _Laplace(nn.Module):
    """A Gaussian at the mode of p(z | x), which is found without gradient; its precision follows the prior's.

    Matrices are factored in float64: a long document's words tell of some directions 10^6 times what the prior says.
    """

    def __init__(self, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations
        self.log_mass = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, topics: Tensor, prior_loc: Tensor, scale_tril: Tensor) -> Any:
        precision = torch.cholesky_inverse(scale_tril.double())  # (T, T)
        z = self.mode(x, topics, prior_loc, precision)  # (B, T)
        theta = z.double().softmax(-1)
        mass = self.log_mass.exp() * x.sum(-1)[:, None, None]  # (B, 1, 1)
        told = theta.diag_embed() - theta[:, :, None] * theta[:, None]  # (B, T, T)
        exact = dist.MultivariateNormal(z.double(), precision_matrix=precision + mass * told)
        return dist.MultivariateNormal(z, scale_tril=exact.scale_tril.to(z))

    @torch.no_grad()
    def mode(self, x: Tensor, topics: Tensor, prior_loc: Tensor, precision: Tensor) -> Tensor:
        """z* of documents (B, V): (B, T); ``precision`` (T, T) is in float64, in which its factors are."""
        z, n = prior_loc.expand(len(x), -1), x.sum(-1, keepdim=True)
        for _ in range(self.iterations):
            theta = z.softmax(-1)
            counts = theta * ((x / off_zero(theta @ topics)) @ topics.T)  # (B, T)
            slope = counts - n * theta - (z - prior_loc).double() @ precision
            curvature = precision + torch.maximum(counts, n * theta).diag_embed()  # (B, T, T)
            step = torch.cholesky_solve(slope[..., None], torch.linalg.cholesky(curvature))  # (B, T, 1)
            z = z + step.squeeze(-1).to(z)
        return z


class _Network(nn.Module):
    """A diagonal Gaussian of a network of log(1 + x), batch-normalised: else most topics die in the first steps.

    A flow or a mixture may bend it, given what the network's last layer is.
    """

    def __init__(self, spec: DataSpec, num_topics: int, hidden: Sequence[int], flow: Bend | None) -> None:
        super().__init__()
        self.flow = flow
        *narrower, last = hidden
        self.network = MLP(spec.num_features, last, narrower, "softplus")
        self.loc = nn.Sequential(nn.Linear(last, num_topics), BatchNorm(num_topics, learn_scale=True))
        self.log_variance = nn.Sequential(nn.Linear(last, num_topics), BatchNorm(num_topics, learn_scale=True))

    def forward(self, x: Tensor, topics: Tensor, prior_loc: Tensor, scale_tril: Tensor) -> Any:
        h = softplus(self.network(x.log1p()))  # (B, hidden)
        found = dist.Normal(self.loc(h), (self.log_variance(h) / 2).exp()).to_event(1)
        return found if self.flow is None else self.flow(found, h)
