"""The Boltzmann machine: binary units, each joined with each, some of them hidden.

    log p(s) = (bias s + s' W s / 2) / T - log Z,        s = (v, h) in {0, 1}^N,  W symmetric with a zero diagonal

    p(s_i | all others) = Bernoulli(sigmoid((bias_i + sum_j W_ij s_j) / T))

    F(v) = -log sum_h exp((bias s + s' W s / 2) / T)        (nats)

Without hidden units the sum has one term. Up to 12 of them are summed, and the guide is the exact p(h | v). With more
the guide is the mean field q(h) = prod_j Bernoulli(m_j), m = sigmoid((c + W_hv v + W_hh m) / T) for each datum, and
``free_energy`` its bound

    F(v) <= -(bias (v, m) + (v, m)' W (v, m) / 2) / T - entropy of q.

Tempered, b: the bias goes to (1 - b) b_0 + b bias / T and W to b W / T; at b = 0 the units are independent and v has
the rates of the training data. A chain's state is s, all units, swept one after another.

Reference: A Learning Algorithm for Boltzmann Machines, Ackley, Hinton and Sejnowski, 1985. The mean field: A Mean Field
Theory Learning Algorithm for Neural Networks, Peterson and Anderson, 1987.
"""

from __future__ import annotations

import math
from typing import Annotated

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Ge
from pyro.poutine.util import is_validation_enabled
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, pad

from ppgen.arguments import Positive
from ppgen.chains.coupled_units import CoupledUnits, symmetric
from ppgen.chains.gibbs import gibbs_sweep
from ppgen.data import DataSpec
from ppgen.distributions.binary_states import binary_states
from ppgen.distributions.joint_bernoulli import JointBernoulli
from ppgen.layers.visibles import BernoulliLayer, visible_layer
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["Boltzmann"]

SUMMED = 12
"""Hidden units that are summed out exactly, at most."""

_ROUNDS = 50
"""Of the mean field, each half of the way to where it points."""


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 5, "binary", num_data=20)
    return Boltzmann(spec, 2), (torch.rand(5, 5).round(),)


@register_model(
    "boltzmann",
    summary="Boltzmann machine: binary units, each joined with each; fully visible, or some of them hidden",
    reference="Ackley, Hinton and Sejnowski, A learning algorithm for Boltzmann machines",
    year=1985,
    link="https://doi.org/10.1207/s15516709cog0901_7",
    tags=("energy-based", "discrete"),
    tiny=_tiny,
    recommended=Recommended("pseudolikelihood", training={"lr": 0.01}),
)
class Boltzmann(CoupledUnits):
    """Boltzmann machine. One batch is ``(x,)``, x of shape (B, D), binary.

    Sites:
        h: (H,), in {0, 1}, in the plate ``data``; none without hidden units
        energy: (), a factor, in the plate ``data``: log p~(v, h) over the uniform probability of h

    Parameters: ``weight`` (N, N), N = D + H, the visible units first, symmetric with a zero diagonal (what is given is
    made so; a gradient keeps it so); ``visible_bias`` (D,), ``hidden_bias`` (H,).

    Args:
        spec: what one datum is; its mean, where known, is where ``visible_bias`` and the tempered path start.
        hidden: H; 0 for a machine that is fully visible.
        temperature: T, by which all energies are divided.

    Raises:
        UsageError: data that are not binary, H < 0, T <= 0.

    >>> import ppgen
    >>> pair = Boltzmann(DataSpec("bits", 4, "binary"), hidden=2)
    >>> _ = nn.init.zeros_(pair.weight)
    >>> round(ppgen.log_z(pair, exact=True).value / math.log(2), 4)  # 2^6 states of equal energy
    6.0
    """

    base_bias: Tensor

    def __init__(self, spec: DataSpec, hidden: Annotated[int, Ge(0)] = 0, *, temperature: Positive = 1.0) -> None:
        super().__init__(data_size=spec.num_data)
        layer = visible_layer(spec, "bernoulli")
        assert isinstance(layer, BernoulliLayer)
        self.hidden, self.temperature, self.layer = hidden, temperature, layer
        self.observation = spec.observation
        self.exact_guide = self.free_energy_is_exact = hidden <= SUMMED  # type: ignore[misc]  # of this machine
        size = spec.num_features + hidden
        self.weight = nn.Parameter(symmetric(0.01 * torch.randn(size, size)))
        bias = layer.initial_bias(spec.mean)
        self.visible_bias = nn.Parameter(temperature * bias)
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.register_buffer("base_bias", bias)

    def prepare(self, *batch: Tensor) -> None:
        """Check the batch, as Pyro's distributions do theirs: while its validation is on."""
        if is_validation_enabled():
            self.layer.check(batch[0])

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            if not self.hidden:
                pyro.factor("energy", -self.free_energy(x))  # (B,)
                return
            h = pyro.sample("h", dist.Bernoulli(logits=torch.zeros_like(self.hidden_bias)).to_event(1))  # (K, B, H)
            own, logits = self._terms(x)  # (B,), (B, H)
            energy = own + (h * logits).sum(-1) + self._among_hidden(h)
            pyro.factor("energy", energy + self.hidden * math.log(2))  # (K, B)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            if self.hidden:
                pyro.sample("h", self.posterior(x))  # (K, B, H)

    def posterior(self, v: Tensor) -> dist.TorchDistribution:
        """q(h | v), exact up to 12 hidden units, else the mean field; H >= 1."""
        if self.exact_guide:
            return JointBernoulli(self._joint(v) - self._terms(v)[0].unsqueeze(-1))
        mean_field: dist.TorchDistribution = dist.Bernoulli(probs=self.mean_field(v)).to_event(1)
        return mean_field

    def mean_field(self, v: Tensor) -> Tensor:
        """m(v), (..., D) -> (..., H), without a gradient."""
        with torch.no_grad():
            logits, among = self._terms(v)[1], self.couplings()[self._split, self._split]
            m = torch.full_like(logits, 0.5)
            for _ in range(_ROUNDS):
                m = 0.5 * m + 0.5 * (logits + m @ among).sigmoid()
        return m

    def free_energy(self, v: Tensor) -> Tensor:
        exact = self.free_energy_is_exact and self.hidden > 0
        return -self._joint(v).logsumexp(-1) if exact else self.mean_field_free_energy(v)

    def mean_field_free_energy(self, v: Tensor) -> Tensor:
        own, logits = self._terms(v)
        if not self.hidden:
            return -own
        m = self.mean_field(v)
        entropy = binary_cross_entropy(m, m, reduction="none").sum(-1)
        return -(own + (m * logits).sum(-1) + self._among_hidden(m)) - entropy

    def filters(self) -> Tensor | None:
        return self.couplings()[: self.layer.num_features, self._split].detach() if self.hidden else None

    def state_at(self, v: Tensor) -> Tensor:
        """v beside a draw of the guide's h."""
        if not self.hidden:
            return v
        with torch.no_grad():
            return torch.cat([v, self.posterior(v).sample()], -1)

    def visible(self, s: Tensor) -> Tensor:
        return s[..., : self.layer.num_features]

    @property
    def has_own_state(self) -> bool:
        return self.hidden > 0

    def couplings(self) -> Tensor:
        """W / T, (N, N)."""
        return symmetric(self.weight) / self.temperature

    def biases(self) -> Tensor:
        """(b, c) / T, (N,)."""
        return torch.cat([self.visible_bias, self.hidden_bias]) / self.temperature

    def base_biases(self) -> Tensor:
        """b_0, (N,)."""
        return pad(self.base_bias, (0, self.hidden))

    @torch.no_grad()
    def held_sweep(self, s: Tensor, b: Tensor | float) -> Tensor:
        b = torch.as_tensor(b, dtype=s.dtype, device=s.device).unsqueeze(-1)
        v, h = self.visible(s), s[..., self._split]
        bias = b * self._terms(v)[1]  # of h, given v
        return torch.cat([v, gibbs_sweep(h, b.unsqueeze(-1) * self.couplings()[self._split, self._split], bias)], -1)

    @property
    def _split(self) -> slice:
        """Of all units the hidden ones."""
        return slice(self.layer.num_features, None)

    def _terms(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """What of log p~(v, h) no hidden unit has a part in, (...,), and the logits that v gives each, (..., H)."""
        weight = self.couplings()[: self.layer.num_features]  # (D, N)
        field = v @ weight  # (..., N)
        among, logits = field[..., : self.layer.num_features], field[..., self._split]
        own = v @ (self.visible_bias / self.temperature) + 0.5 * (v * among).sum(-1)
        return own, logits + self.hidden_bias / self.temperature

    def _among_hidden(self, h: Tensor) -> Tensor:
        """h' W_hh h / (2 T), (..., H) -> (...,)."""
        return 0.5 * (h @ self.couplings()[self._split, self._split] * h).sum(-1)

    def _joint(self, v: Tensor) -> Tensor:
        """log p~(v, h) of every h by its number, (..., 2^H)."""
        own, logits = self._terms(v)
        (h,) = binary_states(self.hidden, v)  # (2^H, H)
        return own.unsqueeze(-1) + logits @ h.T + self._among_hidden(h)
