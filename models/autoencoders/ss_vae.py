"""The semi-supervised VAE (M2): a label, known for some data and summed out for the others, beside a latent vector.

    p(y)        = Categorical(1 / C)                        y: (C,), one-hot
    p(z)        = N(0, I)                                   z: (latent,)
    p(x | y, z) = the spec's likelihood of decoder(z, y)

    q(y | x)    = Categorical(softmax(classifier(x)))
    q(z | x, y) = N(loc(x, y), diag(scale(x, y))^2),        (loc, log scale) = encoder(x, y)

A flow may bend q(z | x, y) (``guide``), and p(z) may be one (``prior``).

Data with labels and without are rows of one batch. A label l that is known enters as a factor p(l) = 1 / C, and puts
y at itself in model and guide, where p(y) and q(y | x) stand for the rest. Summed over y, the bound of a datum is

    L(x, l) = E_q(z | x, l) [ log p(x | l, z) + log p(l) + log p(z) - log q(z | x, l) ]  <=  log p(x, l),
    U(x)    = sum_y q(y | x) ( L(x, y) - log q(y | x) )                                  <=  log p(x)

where the label is known, and where it is not. L does not train the classifier, so that in training (``train()``, not
``eval()``) a datum with a label has a further observed site, the label under q(y | x), with the weight alpha:

    J = sum over labelled (L(x, l) + alpha log q(l | x)) + sum over unlabelled U(x).

log q(l | x) is not above 0: J is still a bound, of the labelled data's log p(x, l) and the others' log p(x), looser by
alpha times the classifier's cross-entropy.

The sum over y has C states of a datum with a label, too, all but one of weight zero: rows of a batch have one shape.

Reference: Semi-supervised Learning with Deep Generative Models, Kingma, Rezende, Mohamed and Welling, 2014, eq. 6-9.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Ge, Len
from pyro import poutine
from torch import Tensor, nn

from ppgen.arguments import Count, NonNegative, Share, Sizes
from ppgen.data import DataSpec
from ppgen.data.validate import UNKNOWN_LABEL
from ppgen.distributions.labels import PossiblyKnown
from ppgen.layers.dense import glorot, make_activation
from ppgen.layers.guides import amortised
from ppgen.layers.labels import classes_of
from ppgen.layers.likelihoods import likelihood
from ppgen.layers.networks import MLP, Activation, Network, Networks
from ppgen.layers.priors import made_prior
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["SSVAE"]

_NEVER = -1e4
"""The logarithm of a probability that is zero in floating point, and finite: the states of weight zero have numbers."""


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data, two of them without a label."""
    spec = DataSpec("tiny", 6, "binary", num_classes=3, num_data=20, num_labelled=12)
    return SSVAE(spec, 2, hidden=(4,)), (
        torch.rand(5, 6).round(),
        torch.tensor([0, UNKNOWN_LABEL, 2, 1, UNKNOWN_LABEL]),
    )


@register_model(
    "ss_vae",
    summary="semi-supervised VAE (M2): a label, known or summed out, beside a Gaussian latent vector",
    reference="Kingma, Rezende, Mohamed and Welling, Semi-supervised learning with deep generative models",
    year=2014,
    link="https://arxiv.org/abs/1406.5298",
    tags=("continuous", "discrete", "amortised", "semi-supervised"),
    tiny=_tiny,
    recommended=Recommended("enumerate", training={"steps": 5_000, "batch_size": 120, "lr": 2e-3}),
)
class SSVAE(Pair):
    """Semi-supervised variational autoencoder. One batch is ``(x, y)``, or ``(x,)`` where no label is known.

    x has shape (B, D), y (B,), int64: labels 0..C-1, and -1 where the label is not known.

    Sites:
        label: (), the index of a known label, or -1, observed, in the plate ``data``; not of batches ``(x,)``
        y: (C,), one-hot, in the plate ``data``; the label, where it is known
        z: (latent,), real, in the plate ``data``
        x: (D,), observed, in the plate ``data``
        classified: (), the known label again, under q(y | x) and with the weight alpha; in training mode alone

    Train it with ``enumerate``, which sums over y and draws z (in Pyro: ``TraceEnum_ELBO`` and
    ``config_enumerate(pair.guide)``); objectives that draw y have more noise.

    Args:
        spec: what one datum is; it has ``num_classes`` when the data were loaded with ``labels=True``.
        latent_dim: size of z.
        guide: ``"gaussian"``, a flow's, ``"iaf(num=2)"``, or ``"semi_implicit"`` (:mod:`ppgen.layers.guides`).
        prior: of z: ``"normal"``, or a flow, ``"maf(num=2)"`` (:mod:`ppgen.layers.priors`).
        hidden: sizes of the encoder's hidden layers, at least one; the decoder has them in reverse.
        classifier: sizes of the classifier's dense hidden layers.
        network: of the classifier, ``"mlp"``, or ``"conv"`` for data with an image shape: convolutions, 5 x 5 of
            stride 2, then the dense layers; or what makes a network of the sizes of its input and its output.
        channels: channels of the convolutions of ``"conv"``.
        dropout: the share of the classifier's hidden numbers that are put to zero in training.
        max_shift: pixels by which the pictures that the classifier sees are moved at random in training, each way; of
            data with an image shape.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        alpha: weight of the classifier's term, in units of one datum's bound; 0.1 N / N_l in the paper, for N data of
            which N_l have labels. 0: no such term.

    Raises:
        UsageError: the data have no labels, a size or weight is not positive, a name is unknown, or ``"conv"`` or
            ``max_shift`` is asked for data without an image shape.

    >>> pair = SSVAE(DataSpec("pictures", 64, "binary", num_classes=10), latent_dim=2, hidden=(16,), classifier=(16,))
    >>> probs = pair.classify(torch.zeros(5, 64))
    >>> probs.shape, torch.allclose(probs.sum(-1), torch.ones(5))
    (torch.Size([5, 10]), True)
    """

    mean: Tensor

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 50,
        *,
        guide: str = "gaussian",
        prior: str = "normal",
        hidden: Annotated[Sizes, Len(1)] = (500,),
        classifier: Sizes = (500,),
        network: Network = "mlp",
        channels: Annotated[Sizes, Len(1)] = (16, 32),
        dropout: Share = 0.0,
        max_shift: Annotated[int, Ge(0)] = 0,
        activation: Activation = "relu",
        alpha: NonNegative = 25.0,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.num_classes, features = classes_of(spec, "SSVAE"), spec.num_features
        self.latent_dim = latent_dim
        self.alpha = float(alpha)
        self.likelihood = likelihood(spec)
        outputs, bias = self.likelihood.num_outputs, self.likelihood.initial_bias(spec.mean)
        self.register_buffer("mean", spec.centre)
        networks = Networks(spec, network, classifier, channels, activation)
        self.shift = networks.random_shift(max_shift)
        self.classifier = networks.encoder(self.num_classes, kernel=5, dropout=dropout)
        read = partial(_WithLabel, features, self.num_classes, hidden=hidden, activation=activation)
        self.encoder = amortised(guide, latent_dim, read)
        self.prior = made_prior(prior, latent_dim, self.encoder)
        self.decoder = _WithLabel(latent_dim, self.num_classes, outputs, hidden[::-1], activation, bias)

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        uniform = x.new_zeros(len(x), self.num_classes)  # (B, C)
        with self.data_plate(x):
            if y is not None:
                pyro.sample("label", PossiblyKnown(logits=uniform), obs=y)  # (B,)
            state = pyro.sample("y", dist.OneHotCategorical(logits=self._given(y, uniform)))  # (C, K, B, C)
            z = pyro.sample("z", self.prior(x, self.encoder))  # (C, K, B, latent)
            outputs = self.decoder((z, state))  # (C, K, B, D)
            pyro.sample("x", self.likelihood(outputs, x), obs=x)  # (B, D)
            if y is not None and self.training and self.alpha:
                with poutine.scale(scale=self.alpha):
                    pyro.sample("classified", PossiblyKnown(logits=self._classified(x)), obs=y)  # (B,)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        logits = self._given(y, self._classified(x))  # (B, C)
        with self.data_plate(x):
            state = pyro.sample("y", dist.OneHotCategorical(logits=logits))  # (C, K, B, C)
            pyro.sample("z", self.encoder((x - self.mean, state)))  # (C, K, B, latent)

    def classify(self, x: Tensor) -> Tensor:
        """q(y | x), the probability of each class: (B, D) to (B, C)."""
        return self._classified(x).softmax(-1)

    def _classified(self, x: Tensor) -> Tensor:
        """The logits of q(y | x), (B, C)."""
        logits: Tensor = self.classifier(self.shift(x - self.mean))
        return logits

    def _given(self, y: Tensor | None, logits: Tensor) -> Tensor:
        """Logits of the state given the labels (B,), (B, C): those given, or all on the label where it is known."""
        if y is None:
            return logits
        label = torch.eye(self.num_classes, dtype=logits.dtype, device=logits.device)[y.clamp_min(0)]  # (B, C)
        return torch.where((y != UNKNOWN_LABEL).unsqueeze(-1), _NEVER * (1 - label), logits)


class _WithLabel(nn.Module):
    """Dense layers of a vector and a label: ((..., num_inputs), (..., num_classes)) to (..., num_outputs).

    The first layer is a sum of two maps, so that the vector's share is worked out once for all states of the label.
    """

    def __init__(
        self,
        num_inputs: int,
        num_classes: int,
        num_outputs: int,
        hidden: Sequence[int],
        activation: Activation,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.vector = glorot(nn.Linear(num_inputs, hidden[0]))
        self.label = glorot(nn.Linear(num_classes, hidden[0], bias=False))
        self.activation = make_activation(activation)
        self.rest = MLP(hidden[0], num_outputs, hidden[1:], activation, bias)

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        vector, label = inputs
        return self.rest(self.activation(self.vector(vector) + self.label(label)))  # type: ignore[no-any-return]
