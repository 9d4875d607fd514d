"""The Hopfield net: binary patterns, stored in an energy and recalled by going down in it.

    E(s) = -s' W s / 2 - b s,        s = 2 x - 1 in {-1, 1}^D,  W symmetric with a zero diagonal

    log p(x) = -E(2 x - 1) / T - log Z

``ppgen.fit(pair, data, "hebb")`` and ``"pseudo_inverse"`` set W to what they make of the patterns, without a gradient;
any objective of an energy trains it too. Recall is the limit T = 0; at T > 0 the net is a fully visible Boltzmann
machine of weights 4 W and biases 2 b - 2 W 1, at that temperature, and the guide has nothing to infer. F(x) is E / T.

Stored by Hebb's rule, P random patterns are recalled almost without error up to P = 0.138 D, where recall breaks
down (Amit, Gutfreund and Sompolinsky 1985); patterns near a stored one come to it. In that limit of large D
memories are the states of lowest free energy for T below 1 and few patterns; T is the scale of the energies.

Reference: Neural networks and physical systems with emergent collective computational abilities, Hopfield, 1982.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import torch
from pyro.poutine.util import is_validation_enabled
from torch import Tensor, nn

from ppgen.arguments import Positive
from ppgen.chains.coupled_units import CoupledUnits, symmetric
from ppgen.chains.recall import AssociativeMemory
from ppgen.data import DataSpec
from ppgen.layers.visibles import visible_layer
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["Hopfield"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 5, "binary", num_data=20)
    return Hopfield(spec), (torch.rand(5, 5).round(),)


@register_model(
    "hopfield",
    summary="Hopfield net: patterns stored by Hebb's or the pseudo-inverse rule, recalled by going down in energy",
    reference="Hopfield, Neural networks and physical systems with emergent collective computational abilities",
    year=1982,
    link="https://doi.org/10.1073/pnas.79.8.2554",
    tags=("energy-based", "discrete", "memory"),
    tiny=_tiny,
    recommended=Recommended("pseudo_inverse", {"num_patterns": 5}, {"epochs": 1}),
)
class Hopfield(CoupledUnits, AssociativeMemory):
    """Hopfield net. One batch is ``(x,)``, x of shape (B, D), binary.

    Sites:
        energy: (), a factor, in the plate ``data``: -E(2 x - 1) / T

    Parameters: ``weight`` W (D, D), symmetric with a zero diagonal (what is given is made so; a gradient keeps it so),
    and ``visible_bias`` b (D,); both are zero before anything is stored.

    Args:
        spec: what one datum is; its mean, where known, is where the tempered path to log Z starts.
        temperature: T, by which all energies are divided.

    Raises:
        UsageError: data that are not binary, T <= 0.

    >>> import ppgen
    >>> pair, pattern = Hopfield(DataSpec("bits", 6, "binary")), torch.tensor([[1.0, 1, 1, 0, 0, 0]])
    >>> run = ppgen.fit(pair, pattern, "hebb", epochs=1, progress=False)
    >>> pair.recall(torch.tensor([1.0, 0, 1, 0, 0, 0])).end
    tensor([1., 1., 1., 0., 0., 0.])
    """

    base_bias: Tensor

    def __init__(self, spec: DataSpec, *, temperature: Positive = 0.5) -> None:
        super().__init__(data_size=spec.num_data)
        self.layer, self.temperature = visible_layer(spec, "bernoulli"), temperature
        self.observation = spec.observation
        self.weight = nn.Parameter(torch.zeros(spec.num_features, spec.num_features))
        self.visible_bias = nn.Parameter(torch.zeros(spec.num_features))
        self.register_buffer("base_bias", self.layer.initial_bias(spec.mean))

    def prepare(self, *batch: Tensor) -> None:
        """Check the batch, as Pyro's distributions do theirs: while its validation is on."""
        if is_validation_enabled():
            self.layer.check(batch[0])

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.factor("energy", -self.free_energy(x))  # (B,)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pass

    def free_energy(self, v: Tensor) -> Tensor:
        return self.energy(v) / self.temperature

    def fields(self) -> tuple[Tensor, Tensor]:
        return symmetric(self.weight), self.visible_bias

    def coupled(self, weight: Tensor) -> Mapping[str, Tensor]:
        return {"weight": weight}

    def couplings(self) -> Tensor:
        return 4 * symmetric(self.weight) / self.temperature

    def biases(self) -> Tensor:
        weight, bias = self.fields()
        return 2 * (bias - weight.sum(-1)) / self.temperature

    def offset(self) -> Tensor:
        return -self.free_energy(torch.zeros_like(self.visible_bias))

    def base_biases(self) -> Tensor:
        return self.base_bias
