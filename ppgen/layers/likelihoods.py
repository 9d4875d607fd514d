"""p(x | outputs of a decoder): the likelihood that a data set's spec asks for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppgen.data.spec import DataSpec
from ppgen.distributions.bag_of_words import BagOfWords
from ppgen.distributions.discretized_logistic import DiscretizedLogistic
from ppgen.distributions.side_by_side import SideBySide
from ppgen.errors import UsageError, shown
from ppgen.layers.words import check_no_symbols

__all__ = [
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "GaussianLikelihood",
    "Likelihood",
    "LogisticLikelihood",
    "Means",
    "MixedLikelihood",
    "MultinomialLikelihood",
    "NoiseKind",
    "gaussian_or",
    "likelihood",
]

NoiseKind = Literal["learned", "network"]
Means = Literal["identity", "sigmoid"]


class Likelihood(nn.Module, ABC):
    """Turns a decoder's outputs into p(x | z), with parameters of its own where the family has a scale.

    Attributes:
        num_outputs: how many numbers the decoder gives for one datum.

    To add one: 1. subclass, 2. write ``forward`` and ``bias_at``, 3. name its observation in ``LIKELIHOODS``.
    """

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.num_outputs = spec.num_features

    @abstractmethod
    def forward(self, outputs: Tensor, x: Tensor) -> Any:
        """Outputs (..., num_outputs) to a distribution of event shape (num_features,).

        Of the data x, (B, num_features), it may take what the model does not make: how many words a document has.
        """

    def initial_bias(self, mean: Tensor | None) -> Tensor | None:
        """Where the decoder's last bias starts for p(x) to start at the training mean; None without one."""
        return None if mean is None else self.bias_at(mean)

    def bias_at(self, mean: Tensor) -> Tensor:
        """The outputs at which p(x) has that mean, (num_outputs,): here the mean itself."""
        return mean


class BernoulliLikelihood(Likelihood):
    """Binary x: independent Bernoullis, one logit a feature."""

    def forward(self, outputs: Tensor, x: Tensor) -> Any:
        return dist.Bernoulli(logits=outputs).to_event(1)

    def bias_at(self, mean: Tensor) -> Tensor:
        """The mean's logit, the mean clipped to [0.001, 0.999] as in Burda et al., 2016."""
        return mean.clamp(0.001, 0.999).logit()


class GaussianLikelihood(Likelihood):
    """Real x: independent Gaussians, loc from the decoder, log-scales one parameter a feature or the decoder's too.

    A decoder that gives the noise of each datum can let it go to zero where a mean is x, and its density without bound;
    ``min_noise`` bounds it.

    Args:
        spec: what one datum is.
        noise: ``"learned"``: one scale a feature, ``log_scale`` (D,); ``"network"``: the decoder has 2 D outputs, of
            which the second half are log-scales.
        means: what is done to the decoder's outputs to be loc.
        min_noise: the least scale; 0: there is none.
    """

    def __init__(
        self, spec: DataSpec, noise: NoiseKind = "learned", means: Means = "identity", min_noise: float = 0.0
    ) -> None:
        super().__init__(spec)
        self.means, self.min_noise = means, min_noise
        self.log_scale = nn.Parameter(torch.zeros(spec.num_features)) if noise == "learned" else None
        if noise == "network":
            self.num_outputs = 2 * spec.num_features

    def forward(self, outputs: Tensor, x: Tensor) -> Any:
        loc, log_scale = outputs.chunk(2, -1) if self.log_scale is None else (outputs, self.log_scale)
        loc = loc.sigmoid() if self.means == "sigmoid" else loc
        scale = log_scale.exp().clamp_min(self.min_noise) if self.min_noise else log_scale.exp()
        return dist.Normal(loc, scale).to_event(1)

    def bias_at(self, mean: Tensor) -> Tensor:
        """The mean, or its logit, clipped to [0.001, 0.999]; beside it log-scales of 0 where they are outputs."""
        loc = mean.clamp(0.001, 0.999).logit() if self.means == "sigmoid" else mean
        return torch.cat([loc, torch.zeros_like(loc)]) if self.log_scale is None else loc


class LogisticLikelihood(Likelihood):
    """Quantised x: discretized logistics, loc from the decoder and one log-scale parameter a feature."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        assert spec.levels is not None  # DataSpec has checked it
        self.levels = spec.levels
        self.log_scale = nn.Parameter(torch.full((spec.num_features,), -2.0))  # a standard deviation of 0.25

    def forward(self, outputs: Tensor, x: Tensor) -> Any:
        return dist.Independent(DiscretizedLogistic(outputs, self.log_scale, self.levels), 1)


class MultinomialLikelihood(Likelihood):
    """Counts x: the words of a document of n words, each drawn from softmax(outputs); n is the data's."""

    def forward(self, outputs: Tensor, x: Tensor) -> Any:
        return BagOfWords(outputs.log_softmax(-1), x.sum(-1))

    def bias_at(self, mean: Tensor) -> Tensor:
        """The mean's logarithm, the mean at least a millionth."""
        return mean.clamp_min(1e-6).log()


class CategoricalLikelihood(Likelihood):
    """A category x, as a one-hot: one logit a category."""

    def forward(self, outputs: Tensor, x: Tensor) -> Any:
        return dist.OneHotCategorical(logits=outputs)

    def bias_at(self, mean: Tensor) -> Tensor:
        """The mean's logarithm, the mean, shares of the categories, at least a thousandth."""
        return mean.clamp_min(1e-3).log()


class MixedLikelihood(Likelihood):
    """Mixed x: each part by the likelihood of its own kind, from outputs of its own, independent given all of them."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        self.parts: Sequence[Likelihood] = nn.ModuleList(likelihood(part) for _, part in spec.parts)  # type: ignore[assignment]  # a list of any modules
        self.places = [place for place, _ in spec.parts]
        self.sizes = [part.num_outputs for part in self.parts]
        self.num_outputs = sum(self.sizes)

    def forward(self, outputs: Tensor, x: Tensor) -> Any:
        each = zip(self.parts, outputs.split(self.sizes, -1), self.places, strict=True)
        return SideBySide([part(own, place.of(x)) for part, own, place in each], self.places)

    def bias_at(self, mean: Tensor) -> Tensor:
        """Those of the parts, one after another."""
        return torch.cat([part.bias_at(place.of(mean)) for part, place in zip(self.parts, self.places, strict=True)])


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "binary": BernoulliLikelihood,
    "real": GaussianLikelihood,
    "quantised": LogisticLikelihood,
    "counts": MultinomialLikelihood,
    "categorical": CategoricalLikelihood,
    "mixed": MixedLikelihood,
}
"""The likelihood of a kind of data."""


def likelihood(spec: DataSpec) -> Likelihood:
    """The likelihood of ``spec.observation``.

    Raises:
        UsageError: there is none, for data that are as their owner gave them.
    """
    check_no_symbols(spec)
    if spec.observation not in LIKELIHOODS:
        raise UsageError(
            f"data {shown(spec.name)} are as they were given and say no likelihood: make them with ppgen.dataset_from, "
            "which does, or write a pair that states its own."
        )
    return LIKELIHOODS[spec.observation](spec)


def gaussian_or(
    spec: DataSpec, noise: NoiseKind | None, means: Means = "identity", min_noise: float = 0.0
) -> Likelihood:
    """A Gaussian likelihood of real data, or of grey levels as real numbers; where none is asked for that of the spec.

    Raises:
        UsageError: it is asked for data that are neither, a part of it is said and no Gaussian is asked for, or its
            means are to be in (0, 1) for data that are not in [0, 1].
    """
    if noise is None and spec.observation == "real":
        noise = "learned"
    if noise is None and (means != "identity" or min_noise):
        said = f"means={shown(means)}" if means != "identity" else f"min_noise={min_noise}"
        raise UsageError(f"{said} is of a Gaussian likelihood: ask for one with noise='learned' or noise='network'.")
    if noise is None:
        return likelihood(spec)
    if spec.observation not in ("real", "quantised"):
        raise UsageError(
            f"noise={shown(noise)} is that of real data or grey levels, but data {shown(spec.name)} are "
            f"{spec.observation}: leave it out."
        )
    if means == "sigmoid" and not spec.in_unit_interval:
        raise UsageError(
            f"means='sigmoid' are in (0, 1), but data {shown(spec.name)} are real numbers of any size: leave it out."
        )
    return GaussianLikelihood(spec, noise, means, min_noise)
