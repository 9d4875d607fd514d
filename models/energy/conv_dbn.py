"""The convolutional deep belief net: a convolutional RBM whose pooling units are the data of a machine on top.

    log p(v, h) = log p(v | h) + sum_B p_B log softmax(a_f)_u + log p_top(p),      p_B = 1 where a unit of block B is on

    p(v | h): the visible layer's family at visible_bias + sum_f w_f * h_f
    p(unit u of block B | p_B = 1) = softmax(a_f)_u:  unpooling, one softmax for each filter f
    log p_top(p) = -F_top(p) - log Z,  an RBM, or a convolutional one, with p as its visible units

    q(h | v): in each block the softmax of the convolutional RBM, by filters of the guide's own

p is a function of h, and a sum over h is one over p and the places that its blocks leave open. Z is that of the machine
on top, and what lies below is normalised: with K draws of q, the log-mean-exp of the log-weights less log Z is a lower
bound of log p(v). A chain's state is p, moved by sweeps of the machine on top; from there h and v are drawn downwards.

    F(v) = -log sum_h exp log p~(v, h)        (nats)

is summed over up to 2^12 states; beyond, ``free_energy`` is a draw of its bound, log q(h | v) - log p~(v, h), h ~ q.

Lee et al. join the layers' energies, so that h is drawn given v and the layer above; here what is below the top is
directed, as in a deep belief net, and p(v, h) is known but for log Z.

Reference: Convolutional Deep Belief Networks for Scalable Unsupervised Learning of Hierarchical Representations, Lee,
Grosse, Ranganath and Ng, 2009. Directed layers: A Fast Learning Algorithm for Deep Belief Nets, Hinton, Osindero and
Teh, 2006.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Ge
from pyro.poutine.util import is_validation_enabled
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d, one_hot, pad

from ppgen.arguments import Count
from ppgen.data import DataSpec
from ppgen.distributions.binary_states import digits
from ppgen.layers.visibles import draw_binary, draw_one_hot
from ppgen.pairs.pair import Pair
from ppgen.pairs.running import Batch
from ppgen.pairs.stack import DirectedStack
from ppgen.registry import MODELS, Recommended, register_model

__all__ = ["ConvDBN"]

SUMMED = 2**12
"""States of h that are summed out exactly, at most."""


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 9, "binary", image_shape=(3, 3), num_data=20)
    return ConvDBN(spec, 2, 3, kernel=2), (torch.rand(5, 9).round(),)


@register_model(
    "conv_dbn",
    summary="convolutional deep belief net: a convolutional RBM, pooled, and a machine on top; binary or real pictures",
    reference="Lee, Grosse, Ranganath and Ng, Convolutional deep belief networks",
    year=2009,
    link="https://doi.org/10.1145/1553374.1553453",
    tags=("energy-based", "discrete", "stages"),
    tiny=_tiny,
    recommended=Recommended("greedy, up_down", training={"steps": 8_000, "batch_size": 100}),
)
class ConvDBN(DirectedStack):
    """Convolutional deep belief net. One batch is ``(x,)``, x of shape (B, C * H * W), binary or real.

    Sites:
        h: (N, P^2 + 1), one-hot, in the plate ``data``: of each of N blocks no unit (the first) or the one that is on
        energy: (), a factor, in the plate ``data``: log p~(v, h) over the uniform probability of h

    Parameters: the model's ``visible_bias``, ``weight_1`` (filters, C, k, k), ``place_logits`` (filters, P^2), a above,
    and of the machine on top ``hidden_bias_1``, ``weight_2``, ``hidden_bias_2``; the guide's ``recognition_weight_1``
    (filters, C, k, k), a copy until ``up_down`` moves it, and ``recognition_bias_1`` (filters,).

    Args:
        spec: what one datum is, with its image shape.
        filters: of the convolutional RBM.
        hidden: units of the machine on top; its filters where that is convolutional.
        kernel, pool, padding: of the convolutional RBM (:class:`ppgen.models.ConvRBM`).
        top_kernel: height and width of the filters on top, over pictures of pooling units; None: an RBM.

    Raises:
        UsageError: as of the convolutional RBM.

    >>> pair = ConvDBN(DataSpec("bits", 9, "binary", image_shape=(3, 3)), 2, 3, kernel=2)
    >>> pair.place_logits.shape, pair.hidden_bias_1.shape, pair.weight_2.shape
    (torch.Size([2, 4]), torch.Size([2]), torch.Size([2, 3]))
    """

    exact_guide = False

    def __init__(
        self,
        spec: DataSpec,
        filters: Count = 40,
        hidden: Count = 200,
        *,
        kernel: Count = 5,
        pool: Count = 2,
        padding: Annotated[int, Ge(0)] | None = None,
        top_kernel: Count | None = None,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        below: Any = MODELS["conv_rbm"].cls(spec, filters, kernel=kernel, pool=pool, padding=padding)
        size = math.prod(below.pooled_shape)
        pooled = DataSpec("a layer of pooling units", size, "binary", image_shape=below.pooled_shape)
        top: Any = (
            MODELS["rbm"].cls(pooled, hidden)
            if top_kernel is None
            else MODELS["conv_rbm"].cls(pooled, hidden, kernel=top_kernel, pool=1)
        )
        self.observation, self.levels, self.num_blocks = spec.observation, pool**2 + 1, size
        self.visible_bias, self.weight_1 = below.visible_bias, below.weight
        self.hidden_bias_1, self.weight_2, self.hidden_bias_2 = top.visible_bias, top.weight, top.hidden_bias
        self.place_logits = nn.Parameter(torch.zeros(filters, pool**2))
        self.recognition_weight_1 = nn.Parameter(below.weight.detach().clone())
        self.recognition_bias_1 = below.hidden_bias
        self.machines = nn.ModuleList([below, top])
        self.free_energy_is_exact = self.levels**size <= SUMMED

    def prepare(self, *batch: Tensor) -> None:
        """Check the batch, as Pyro's distributions do theirs: while its validation is on."""
        if is_validation_enabled():
            self.below.layer.check(batch[0])

    @property
    def below(self) -> Any:
        """The convolutional RBM."""
        return self.machines[0]

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            free = self.place_logits.new_zeros(self.num_blocks, self.levels)
            h = pyro.sample("h", dist.OneHotCategorical(logits=free).to_event(1))  # (K, B, N, P^2 + 1)
            pyro.factor("energy", self._log_joint(x, h) + self.num_blocks * math.log(self.levels))  # (K, B)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("h", dist.OneHotCategorical(logits=self._recognised(x)).to_event(1))  # (K, B, N, P^2 + 1)

    def free_energy(self, v: Tensor) -> Tensor:
        if not self.free_energy_is_exact:
            logits = self._recognised(v)
            h = draw_one_hot(logits.detach())
            return (h * logits.log_softmax(-1)).sum((-2, -1)) - self._log_joint(v, h)
        numbers = torch.arange(self.levels**self.num_blocks, device=v.device)
        h = one_hot(digits(numbers, self.levels, self.num_blocks), self.levels).to(v.dtype)  # (S, N, P^2 + 1)
        return -self._log_joint(v, h.reshape(len(h), *(1,) * (v.dim() - 1), *h.shape[1:])).logsumexp(0)

    def filters(self) -> Tensor | None:
        weight: Tensor = self.weight_1
        return weight.detach().movedim(0, -1)

    def upper_filters(self) -> Sequence[Tensor]:
        """Each unit on top as a picture: its weights, unpooled evenly, times the filters below."""
        weight = self.weight_2.detach()
        whole = weight.dim() == 2  # of an RBM, to all pooling units; otherwise (units, filters, k, k)
        maps = weight.T.reshape(-1, *self.below.pooled_shape) if whole else weight
        pool = self.below.pool
        spread = maps.repeat_interleave(pool, -1).repeat_interleave(pool, -2) / pool**2
        padding = self.below.padding if whole else 0
        pictures = conv_transpose2d(spread, self.weight_1.detach(), padding=padding).movedim(0, -1)  # (C, H, W, units)
        return (pictures.flatten(0, 2) if whole else pictures,)

    def state_at(self, v: Tensor) -> Tensor:
        return _pooled(self.ascend((v,))["h"])

    @torch.no_grad()
    def ascend(self, batch: Batch) -> dict[str, Tensor]:
        return {"h": draw_one_hot(self._recognised(batch[0]))}

    def state_of(self, latents: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return _pooled(latents["h"])

    @torch.no_grad()
    def descend(self, s: Tensor) -> tuple[Batch, dict[str, Tensor]]:
        places = draw_one_hot(self._places().expand(*s.shape, -1))  # (M, N, P^2)
        h = torch.cat([1 - s.unsqueeze(-1), s.unsqueeze(-1) * places], -1)
        eta = self.below.eta(h)  # (M, C * H * W)
        return (self.below.layer.sample(eta, eta.new_ones(())),), {"h": h}

    @torch.no_grad()
    def shown_to(self, number: int, batch: Batch, *, sample: bool) -> Batch:
        if number == 0:
            return batch
        logits = self._recognised(batch[0])[..., 1:].logsumexp(-1)  # (B, N)
        return (draw_binary(logits) if sample else logits.sigmoid(),)

    def settle(self, number: int) -> None:
        if number == 0:
            self.recognition_weight_1.copy_(self.weight_1)

    def _recognised(self, v: Tensor) -> Tensor:
        """The logits of q(h | v), (..., N, P^2 + 1)."""
        found: Tensor = self.below.block_logits(v, self.recognition_weight_1)
        return found

    def _places(self) -> Tensor:
        """log p(unit | its block is on), (N, P^2)."""
        return self.place_logits.log_softmax(-1).repeat_interleave(self.num_blocks // len(self.place_logits), 0)

    def _log_joint(self, v: Tensor, h: Tensor) -> Tensor:
        """log p~(v, h), (..., C * H * W) and (..., N, P^2 + 1) -> (...,)."""
        visible = self.below.layer.log_prob(v, self.below.eta(h))
        found: Tensor = visible + (h * pad(self._places(), (1, 0))).sum((-2, -1)) - self.top.free_energy(_pooled(h))
        return found


def _pooled(h: Tensor) -> Tensor:
    """The pooling units, (..., N, P^2 + 1) -> (..., N)."""
    return 1 - h[..., 0]
