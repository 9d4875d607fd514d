"""The deep autoencoder: logistic layers down to a short code and back, pretrained as a stack of machines.

    p(z)     = N(0, (100 s)^2 I)                                                    z: (H_L,)
    p(x | z) = the data's family at decoder(z)

    q(z | x) = N(encoder(x), s^2 I)

    encoder: h_l = sigmoid(recognition_bias_l + recognition_weight_l' h_{l-1}) from h_0 = x on, for l = L no sigmoid
    decoder: h_l = sigmoid(hidden_bias_l + weight_{l+1} h_{l+1}) from h_L = z on, for x visible_bias and no sigmoid

The noise s is fixed and the prior broad, so that up to a constant the bound is minus the cross-entropy of x under its
reconstruction, less |encoder(x)|^2 / (2 (100 s)^2): an autoencoder's loss with a trace of weight decay on codes, and
no good density of x. Grey levels enter as rates of bits (:class:`ppgen.distributions.bernoulli_rates.BernoulliRates`).

With binary codes the decoder is given sigmoid(z), and s is large: to get through the noise the encoder has to drive z
far from 0, and the signs of its outputs are the code (semantic hashing).

Neighbouring layers are machines that learn one after another by ``greedy``: restricted Boltzmann machines, the one on
top with linear hidden units of unit variance where the code is real. Unrolled, machine l gives weight_l to the decoder
and a copy of it to the encoder, which fine-tuning moves apart.

Reference: Reducing the Dimensionality of Data with Neural Networks, Hinton and Salakhutdinov, 2006. Binary codes:
Semantic Hashing, Salakhutdinov and Hinton, 2009.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Len
from torch import Tensor, nn

from ppgen.arguments import Positive, Sizes
from ppgen.data import DataSpec
from ppgen.distributions.bernoulli_rates import BernoulliRates
from ppgen.layers.likelihoods import likelihood
from ppgen.layers.linear_machine import LinearMachine
from ppgen.layers.visibles import VisibleLayer, draw_binary
from ppgen.pairs.pair import Pair
from ppgen.pairs.running import Batch
from ppgen.pairs.sampling import Draws
from ppgen.pairs.stack import Stack
from ppgen.registry import MODELS, Recommended, register_model

__all__ = ["DeepAutoencoder"]

BREADTH = 100
"""The prior's standard deviation over that of the noise."""

_NOISE = {"linear": 0.1, "binary": 4.0}


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 6, "binary", num_data=20)
    return DeepAutoencoder(spec, (4, 2)), (torch.rand(5, 6).round(),)


@register_model(
    "deep_autoencoder",
    summary="deep autoencoder: logistic layers to a short code and back, linear or binary codes",
    reference="Hinton and Salakhutdinov, Reducing the dimensionality of data with neural networks",
    year=2006,
    link="https://doi.org/10.1126/science.1127647",
    tags=("continuous", "amortised", "stages"),
    tiny=_tiny,
    recommended=Recommended("greedy, elbo", {"shares": [1, 4]}, training={"epochs": 50, "batch_size": 100}),
)
class DeepAutoencoder(Stack):
    """Deep autoencoder. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        z: (H_L,), real, in the plate ``data``: the code, or the logits of its bits
        x: (D,), observed, in the plate ``data``

    Parameters: ``visible_bias`` and ``weight_l`` (H_{l-1}, H_l) for l = 1 .. L, ``hidden_bias_l`` (H_l,) for l < L, the
    decoder's; ``recognition_weight_l`` (H_{l-1}, H_l) and ``recognition_bias_l`` (H_l,), the encoder's. ``machines``
    are those of neighbouring layers, whose parameters these are but for the copies ``recognition_weight_l``.

    Args:
        spec: what one datum is. Grey levels are rates of bits; of counts the encoder's first biases count once a word,
            as those of the machine there.
        hidden: H_1 .. H_L, from the data to the code; two to nine layers.
        codes: ``"linear"``, or ``"binary"``: bits by noise.
        noise: s; None: 0.1 for linear codes, 4 for binary ones.

    Raises:
        UsageError: a size or the noise is not positive, or the data are of no kind that has a visible layer.

    >>> import ppgen
    >>> pair = DeepAutoencoder(DataSpec("pictures", 64, "binary", image_shape=(8, 8)), (32, 4))
    >>> x = torch.rand(5, 64).round()
    >>> pair.encode(x).shape, pair.reconstruct(x).shape
    (torch.Size([5, 4]), torch.Size([5, 64]))
    """

    weight_1: Tensor

    def __init__(
        self,
        spec: DataSpec,
        hidden: Annotated[Sizes, Len(2, 9)] = (1000, 500, 250, 30),
        *,
        codes: Literal["linear", "binary"] = "linear",
        noise: Positive | None = None,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.hidden, self.binary_codes = tuple(hidden), codes == "binary"
        self.noise = _NOISE[codes] if noise is None else noise
        self.grey = spec.observation == "quantised"
        self.likelihood = None if self.grey else likelihood(spec)
        machines = _machines(replace(spec, observation="binary", levels=None) if self.grey else spec, hidden, codes)
        self.layer: VisibleLayer = machines[0].layer
        self.visible_bias = machines[0].visible_bias
        for number, machine in enumerate(machines, start=1):
            nn.init.xavier_normal_(machine.weight)
            self.register_parameter(f"weight_{number}", machine.weight)
            if machine is not machines[-1]:
                self.register_parameter(f"hidden_bias_{number}", machines[number].visible_bias)
        for number, machine in enumerate(machines, start=1):
            self.register_parameter(f"recognition_weight_{number}", nn.Parameter(machine.weight.detach().clone()))
            self.register_parameter(f"recognition_bias_{number}", machine.hidden_bias)
        self.machines = nn.ModuleList(machines)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.hidden[-1]), BREADTH * self.noise).to_event(1))
            pyro.sample("x", self._given(self.decode(z.sigmoid() if self.binary_codes else z), x), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.encode(x), self.noise).to_event(1))  # (K, B, H_L)

    def encode(self, x: Tensor) -> Tensor:
        """The code of x, or the logits of its bits: (..., D) to (..., H_L)."""
        return self._recognised(x, len(self.hidden))

    def decode(self, code: Tensor) -> Tensor:
        """What p(x | z) is made of, of a code, bits or between: (..., H_L) to (..., D)."""
        h = code
        for number in range(len(self.hidden) - 1, 0, -1):
            h = (getattr(self, f"hidden_bias_{number}") + h @ getattr(self, f"weight_{number + 1}").T).sigmoid()
        found: Tensor = self.visible_bias + h @ self.weight_1.T
        return found

    def reconstruct(self, x: Tensor) -> Tensor:
        """The mean of p(x | z) at the code of x, without noise, or at its bits: (B, D)."""
        mean: Tensor = self._at_code(x).mean
        return mean

    def remake_data(self, batch: Batch) -> Draws:
        """Every datum of ``batch`` made again from its code, without noise, or from its bits."""
        found = self._at_code(batch[0])
        where = "at its bits" if self.binary_codes else "at its code"
        return Draws(found.sample(), found.mean, f"a draw of p(x | z) {where}", f"the mean of p(x | z) {where}")

    @torch.no_grad()
    def shown_to(self, number: int, batch: Batch, *, sample: bool) -> Batch:
        if number == 0:
            return (torch.bernoulli(batch[0]) if self.grey else batch[0],)  # bits of those rates
        logits = self._recognised(batch[0], number)
        return (draw_binary(logits) if sample else logits.sigmoid(),)

    @torch.no_grad()
    def settle(self, number: int) -> None:
        getattr(self, f"recognition_weight_{number + 1}").copy_(getattr(self, f"weight_{number + 1}"))

    def _at_code(self, x: Tensor) -> Any:
        code = self.encode(x)
        return self._given(self.decode((code > 0).to(code.dtype) if self.binary_codes else code), x)

    def _given(self, outputs: Tensor, x: Tensor) -> Any:
        """p(x | z), (..., D)."""
        return BernoulliRates(logits=outputs).to_event(1) if self.likelihood is None else self.likelihood(outputs, x)

    def _recognised(self, x: Tensor, number: int) -> Tensor:
        """The logits of layer l = ``number``, (..., D) to (..., H_l)."""
        logits = self.layer.statistics(x) @ self._weight(1) + self.layer.size(x) * self._bias(1)
        for layer in range(2, number + 1):
            logits = logits.sigmoid() @ self._weight(layer) + self._bias(layer)
        return logits

    def _weight(self, number: int) -> Tensor:
        weight: Tensor = getattr(self, f"recognition_weight_{number}")
        return weight

    def _bias(self, number: int) -> Tensor:
        bias: Tensor = getattr(self, f"recognition_bias_{number}")
        return bias


def _machines(spec: DataSpec, hidden: Sequence[int], codes: str) -> list[Any]:
    """Those of neighbouring layers, from below."""
    specs = [spec, *(DataSpec(f"layer {number}", size, "binary") for number, size in enumerate(hidden[:-1], start=1))]
    kinds = [MODELS["rbm"].cls] * (len(hidden) - 1) + [LinearMachine if codes == "linear" else MODELS["rbm"].cls]
    return [kind(below, size) for kind, below, size in zip(kinds, specs, hidden, strict=True)]
