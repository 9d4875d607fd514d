"""A conservative log-likelihood of an unnormalised pair, by chains that anneal down from the data themselves.

Annealing from the base is a model of its own: v is where a chain ends that began at a draw x_0 of p_0 and made a sweep
T_t at each temperature b_1, ..., b_{T-1}. Its density p_ann(v) is normalised, and near the pair's where chains keep up
with the temperatures. The reverse annealed importance sampling estimator (RAISE) is that of a chain that begins at v
and goes down, each state drawn by the reversal of a sweep from the one above: a proposal for the path that led to v,
with weight

    w(v) = p~_1(v) / Z_0  prod_{t = T, ..., 1} p~_{b_{t-1}}(x_t) / p~_{b_t}(x_t),    x_T = v,    E[w(v)] = p_ann(v)

so that E[ log (1/M) sum_m w_m(v) ] <= log p_ann(v): it errs downward, and needs no draw of the pair. (Where a sweep is
not reversible, T_t is the reversal of the sweep.) The product is the weight of reverse annealing, which for log Z from
above begins at draws of the pair, and here at data.

Accurate and conservative estimates of MRF log-likelihood using reverse annealing. Burda, Grosse and Salakhutdinov,
AISTATS 2015, algorithm 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppgen.chains.annealing import annealed, check_finite
from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.reductions import log_mean_exp

__all__ = ["raised"]


@torch.no_grad()
def raised(pair: EnergyPair, v: Tensor, betas: Tensor, num_chains: int, *, progress: bool = False) -> Tensor:
    """log (1/M) sum_m w_m(v) of each datum, (B, D) -> (B,), float64, nats.

    Args:
        pair: whose chains' states are data.
        v: the data.
        betas: 0 = b_0 < ... < b_T = 1.
        num_chains: M, for each datum.
        progress: show a progress bar.

    Raises:
        UsageError: a weight is not finite.

    >>> import ppgen
    >>> pair, v = ppgen.models.RBM(ppgen.DataSpec("bits", 4, "binary"), hidden=2), torch.eye(4)
    >>> _ = torch.nn.init.zeros_(pair.weight)  # 2^4 states of equal probability
    >>> raised(pair, v, torch.tensor([0.0, 0.5, 1.0]), num_chains=3).exp()
    tensor([0.0625, 0.0625, 0.0625, 0.0625], dtype=torch.float64)
    """
    down = annealed(pair, v.expand(num_chains, *v.shape), betas.flip(0), progress=progress)  # (M, B)
    check_finite(down.flatten())
    return log_mean_exp(down) + pair.log_tempered(v, 1.0).double() - pair.base_log_z().double()
