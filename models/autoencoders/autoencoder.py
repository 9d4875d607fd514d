"""The autoencoder as a pair: a guide that is a point, and a model that makes x again from it.

    encoder: h_l = s(W_l' h_{l-1} + b_l),   l = 1..L,  h_0 = x              the code is z = h_L
    decoder: g_{l-1} = s(V_l g_l + c_l),    l = L..1,  g_L = z              V_l = W_l where weights are tied

    p(x | z) = Bernoulli(sigmoid(V_1 g_1 + c_1))    bits, or rates of bits: grey levels
               N(V_1 g_1 + c_1, I)                  real data

    q(z | x) = a point at h_L(x~)

x~ is x, or in training a draw of a corruption c(x~ | x) at an auxiliary site of the guide: denoising, since it is the
clean x that is made again. No prior is put on codes: p(z) is flat and counts nothing. A log-weight is then

    log w = log p(x | h_L(x~)) - sparsity sum_j KL(rho || mean_x z_j) - contractive |dz/dx|^2               (nats)

of which the last two, both at the clean x and the KL over the batch, stand in the model as one factor, ``penalty``:
minus ``elbo`` is minus the reconstruction's log-likelihood plus what is penalised, and so is the bound of any objective
that takes points. Of real data it is half the squared error, up to a constant, and with ``activation="identity"`` its
optimum is the subspace of the first principal components. It says nothing of log p(x): there is no prior to integrate
over.

A stack learns layer by layer with ``"greedy, elbo"``: each layer is an autoencoder of what those below make of x, with
noise of ``pretraining_noise`` at its input, and then all are tuned together with noise ``noise``, 0 if not said.

With labels a softmax stands on the code,

    p(y | z) = Categorical(softmax(U' z + d)),

a term of log w; ``"greedy, hybrid(weight=0)"`` pretrains without labels, then fine-tunes p(y | h_L(x)), x clean.

With a context s of each datum, such as what surrounds a patch, the code makes s again too, a term of weight a more:

    log w = ... + a log p(s | z)

as the second term of Amiri et al., whose encoders are given the context beside x; here the code is that of x alone.

References: Auto-association by Multilayer Perceptrons and Singular Value Decomposition, Bourlard and Kamp, 1988;
Stacked Denoising Autoencoders, Vincent, Larochelle, Lajoie, Bengio and Manzagol, 2010; Contractive Auto-Encoders,
Rifai, Vincent, Muller, Glorot and Bengio, 2011; CS294A Lecture Notes: Sparse Autoencoder, Ng, 2011;
Learning Text Pair Similarity with Context-sensitive Autoencoders, Amiri, Resnik, Boyd-Graber and Daume, 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, cast

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Gt, Len, Lt
from torch import Tensor, nn

from ppgen.arguments import NonNegative, Sizes
from ppgen.data import DataSpec
from ppgen.distributions.corruption import Corruption
from ppgen.distributions.point import RoundedPoint
from ppgen.errors import UsageError, shown
from ppgen.layers.coding import CodingLayer, Noise, Penalties, Units, activations, flat
from ppgen.layers.labels import check_told, classes_of_all
from ppgen.layers.reconstruction import Context, Observed, kind_of, start_of
from ppgen.pairs.pair import Pair
from ppgen.pairs.rows import source_of
from ppgen.pairs.running import Batch
from ppgen.pairs.sampling import Draws
from ppgen.pairs.stack import Stack
from ppgen.registry import Recommended, register_model

__all__ = ["Autoencoder"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 6, "binary", num_data=20)
    return Autoencoder(spec, (4, 3), contractive=0.1), (torch.rand(5, 6).round(),)


@register_model(
    "autoencoder",
    summary="autoencoder with a point guide: linear, deep, tied, sparse, contractive, denoising, stacked, with labels",
    reference="Vincent, Larochelle, Lajoie, Bengio and Manzagol, Stacked denoising autoencoders",
    year=2010,
    link="https://www.jmlr.org/papers/v11/vincent10a.html",
    tags=("continuous", "amortised", "point", "stages"),
    tiny=_tiny,
    recommended=Recommended("elbo", training={"steps": 10_000, "batch_size": 100, "lr": 3e-3}),
)
class Autoencoder(Stack):
    """Autoencoder. One batch is ``(x,)``, x of shape (B, D); with labels ``(x, y)``, y (B,); with contexts ``(x, s)``.

    Sites:
        z: (H_L,), real, in the plate ``data``: the code; its prior is flat and counts nothing, and draws of it are
            those of N(0, I), which are no codes of data
        x: (D,), observed, in the plate ``data``
        penalty: (), a factor, in the plate ``data``; only where something is penalised

    In training with noise the guide has an auxiliary site ``x_tilde`` (D,) in the plate ``data``. Labels y () of a
    batch are observed there too, and contexts s (D_s,).

    Parameters: those of ``machines``, layer by layer (:class:`ppgen.layers.coding.CodingLayer`); with labels
    ``label_weight`` U (H_L, C) and ``label_bias`` d (C,) too, which begin at zero; with contexts those of ``context``.

    Args:
        spec: what one datum is: binary, quantised (rates of bits) or real (unit variance).
        hidden: H_1 .. H_L, from the data to the code; the decoder has them in reverse.
        activation: s: ``"sigmoid"``, ``"tanh"``, ``"relu"``, or ``"identity"``, a linear autoencoder.
        tied: whether the decoder's weights are the encoder's transposed.
        corruption: the kind of noise: ``"masking"``, ``"salt_and_pepper"`` (of data in [0, 1]), ``"gaussian"``.
        noise: its level: the share of numbers that are replaced, of ``"gaussian"`` the standard deviation; 0: none.
        pretraining_noise: that of each layer in ``greedy``; None: as ``noise``.
        sparsity: the weight of the KL of mean activations of the code, of units in (0, 1).
        sparsity_target: rho.
        contractive: the weight of the squared norm of the code's Jacobian.
        labels: whether a softmax on the code tells the label, of data loaded with ``labels=True``.
        context: a, of data (x, s) whose rows belong together (:func:`ppgen.data.translation_data`); 0: s is not looked
            at.

    Raises:
        UsageError: a size is not positive, a level is negative or a share of 1 or more, salt and pepper is asked for
            data that are not in [0, 1], sparsity of units that are not in (0, 1), labels of data that do not all have
            one, a context of data that have none, or the data are of another kind.

    >>> pair = Autoencoder(DataSpec("pictures", 64, "binary", image_shape=(8, 8)), (32, 4), noise=0.25)
    >>> x = torch.rand(5, 64).round()
    >>> pair.encode(x).shape, pair.reconstruct(x).shape
    (torch.Size([5, 4]), torch.Size([5, 64]))
    """

    def __init__(
        self,
        spec: DataSpec,
        hidden: Annotated[Sizes, Len(1)] = (200,),
        *,
        activation: Units = "sigmoid",
        tied: bool = False,
        corruption: Corruption = "masking",
        noise: NonNegative = 0.0,
        pretraining_noise: NonNegative | None = None,
        sparsity: NonNegative = 0.0,
        sparsity_target: Annotated[float, Gt(0), Lt(1)] = 0.05,
        contractive: NonNegative = 0.0,
        labels: bool = False,
        context: NonNegative = 0.0,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        observed = kind_of(spec, "Autoencoder")
        _check(spec, activation, corruption, max(noise, pretraining_noise or 0.0), sparsity)
        self.hidden, self.noise = tuple(hidden), Noise(corruption, noise)
        self.penalties = Penalties(sparsity, sparsity_target, contractive)
        of_layer = Noise(corruption, noise if pretraining_noise is None else pretraining_noise)
        inner: Observed = "rates" if activation == "sigmoid" else "real"
        self.machines = nn.ModuleList(
            CodingLayer(*sizes, activation, kind, tied, of_layer, self.penalties, spec.num_data, below)
            for sizes, kind, below in zip(
                pairwise((spec.num_features, *hidden)),
                [observed, *[inner] * (len(hidden) - 1)],
                ["identity", *[activation] * (len(hidden) - 1)],
                strict=True,
            )
        )
        self.layers[0].visible_bias.data.copy_(start_of(spec, observed))
        self.context = Context(spec, hidden[-1], context) if context else None
        self.num_classes = classes_of_all(spec, "Autoencoder with labels", "'ss_vae'") if labels else None
        if self.num_classes is not None:
            self.label_weight = nn.Parameter(torch.zeros(hidden[-1], self.num_classes))
            self.label_bias = nn.Parameter(torch.zeros(self.num_classes))

    def prepare(self, *batch: Tensor) -> None:
        """Check the labels or contexts, where there are any."""
        if self.num_classes is not None and len(batch) > 1:
            check_told(batch, self.num_classes, "Autoencoder with labels")
        if self.context is not None and len(batch) > 1:
            source_of(batch, "Autoencoder with contexts")

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        with self.data_plate(x):
            z = flat(x, self.hidden[-1])  # (K, B, H_L)
            self.penalties.take(x, self.layers)
            pyro.sample("x", self._given(z), obs=x)  # (B, D)
            if self.num_classes is not None and y is not None:
                pyro.sample("y", dist.Categorical(logits=self._label_logits(z)), obs=y)  # (B,)
            if self.context is not None and y is not None:
                self.context.observe(z, y)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        with self.data_plate(x):
            z = self.encode(self.noise.of(x, training=self.training))
            pyro.sample("z", RoundedPoint(z, event_dim=1))  # type: ignore[no-untyped-call]  # (K, B, H_L)

    @property
    def layers(self) -> Sequence[CodingLayer]:
        """From the data to the code."""
        return cast(Sequence[CodingLayer], self.machines)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The code of x, without noise, (..., D) to (..., H_L), whatever its label."""
        return activations(x, self.layers)[-1]

    def filters(self) -> Tensor | None:
        return self.layers[0].weight

    def loadings(self) -> Tensor | None:
        first, *others = self.layers
        if others or first.units != "identity" or first.observed != "real":
            return None
        return first.weight if first.decoder_weight is None else first.decoder_weight

    def decode(self, z: Tensor) -> Tensor:
        """The mean of p(x | z), (..., H_L) to (..., D)."""
        return self.layers[0].decode(self._below(z))

    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The mean of p(x | z) at the code of x, (B, D), whatever its label."""
        return self.decode(self.encode(x))

    def label_log_probs(self, x: Tensor) -> Tensor:
        """log p(y | x) at the code of x, without noise, (..., D) to (..., C), in nats."""
        return self._label_logits(self.encode(x)).log_softmax(-1)

    def classify(self, x: Tensor) -> Tensor:
        """p(y | x), (..., D) to (..., C); see :meth:`label_log_probs`."""
        return self.label_log_probs(x).exp()

    def remake_data(self, batch: Batch) -> Draws:
        """Every datum of ``batch`` made again from its code."""
        found = self._given(self.encode(batch[0]))
        return Draws(found.sample(), found.mean, "a draw of p(x | z) at its code", "the mean of p(x | z) at its code")

    @torch.no_grad()
    def shown_to(self, number: int, batch: Batch, *, sample: bool) -> Batch:
        return (activations(batch[0], self.layers[:number])[-1] if number else batch[0],)

    def _label_logits(self, z: Tensor) -> Tensor:
        return z @ self.label_weight + self.label_bias  # (..., C)

    def _below(self, z: Tensor) -> Tensor:
        """g_1, (..., H_1)."""
        for layer in self.layers[:0:-1]:
            z = layer.decode(z)
        return z

    def _given(self, z: Tensor) -> Any:
        return self.layers[0].given(self._below(z))


def _check(spec: DataSpec, activation: str, corruption: str, noise: float, sparsity: float) -> None:
    if corruption != "gaussian" and noise >= 1:
        raise UsageError(
            f"the noise of corruption={shown(corruption)} is a share of numbers, at least 0 and below 1, got {noise}: "
            "lower it, or take corruption='gaussian'."
        )
    if corruption == "salt_and_pepper" and spec.observation == "real":
        raise UsageError(
            f"corruption='salt_and_pepper' puts numbers to 0 and 1 and needs data in [0, 1], but data "
            f"{shown(spec.name)} are real: take 'masking' or 'gaussian'."
        )
    if sparsity and activation != "sigmoid":
        raise UsageError(
            f"sparsity is of units in (0, 1), got activation={shown(activation)}: take activation='sigmoid', or leave "
            "sparsity at 0."
        )
