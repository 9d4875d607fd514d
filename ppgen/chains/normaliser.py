"""What is known of log Z: a value, its error, how much its chains are worth, and how far it may flatter.

``value`` is below log Z in expectation, and a log-likelihood that it is subtracted from flatters. By how much at most,
with confidence 0.95, is ``flattery``: the upper end of log Z less ``value``. That end is

- of a sandwich whose states come from chains that agree (R-hat up to 1.1, Gelman and Rubin 1992): of log Z from above;
- else that of the chains themselves (:mod:`ppgen.chains.intervals`), or of log Z from above where that is larger.

Neither knows of a mode of the model in which no chain has ever been.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.errors import UsageError, shown

__all__ = ["ENOUGH", "LogZ"]

ENOUGH = 20
"""Equal weights that those of the chains are to be worth."""

_AGREED = 1.1
"""R-hat up to which chains are taken to have mixed."""


@dataclass(frozen=True)
class LogZ:
    """log Z in nats, with the standard error of the estimate (0 where it is exact).

    ``effective_sample_size`` is that of the weights, (sum w)^2 / sum w^2: below 20, neither the value nor its error bar
    is to be trusted, and ``warning`` says so. It and the numbers of AIS are None where ``exact``.
    ``value`` is below log Z in expectation, and ``upper``, of a sandwich, above; each has its own standard error.

    ``low`` and ``high`` are the ends of a 95 percent interval for log Z by the chains of ``value``, longer above than
    below; ``upper_high`` is the end from above by those of ``upper``, good if these began at draws of the model, and
    ``upper_r_hat`` (None: not known) says how far the chains that found these agree. ``num_sweeps`` is what all runs
    took, temperatures times chains, each run that was found to be worth too little among them.

    >>> import ppgen
    >>> pair = ppgen.models.RBM(ppgen.DataSpec("bits", 4, "binary"), hidden=2)
    >>> _ = torch.nn.init.zeros_(pair.weight)  # 2^6 states of equal energy
    >>> ppgen.log_z(pair, exact=True)
    LogZ(value=4.158..., standard_error=0.0, exact=True, ...)
    >>> found = ppgen.log_z(pair, num_temperatures=10, num_chains=25)
    >>> round(found.value, 3), round(found.effective_sample_size)  # of chains of equal weight
    (4.159, 25)
    >>> abs(found.flattery) < 1e-6
    True

    Of data that differ in size, documents of n words, ``value`` is the mean over them, ``standard_error`` and
    ``upper`` are those of the mean, and ``effective_sample_size`` is a mean over the data too; ``sizes`` are the
    different ones among them, ascending, and ``of_sizes`` the log Z of each. None: there is one log Z.
    """

    value: float
    standard_error: float
    exact: bool
    num_temperatures: int | None = None
    num_chains: int | None = None
    effective_sample_size: float | None = None
    upper: float | None = None
    upper_standard_error: float | None = None
    upper_effective_sample_size: float | None = None
    sizes: tuple[int, ...] | None = None
    of_sizes: tuple[float, ...] | None = None
    low: float | None = None
    high: float | None = None
    upper_high: float | None = None
    upper_r_hat: float | None = None
    num_sweeps: int | None = None

    def of(self, sizes: Tensor | None) -> Tensor | float:
        """log Z of each datum, of its size (B,); None: the one that all data have.

        Raises:
            UsageError: there is none for a size.
        """
        if sizes is None:
            return self.value
        known = torch.tensor(self.sizes or (), dtype=sizes.dtype, device=sizes.device)
        missing = ~torch.isin(sizes, known)
        if bool(missing.any()):
            raise UsageError(
                f"there is one log Z for each length of documents, got none for {shown(int(sizes[missing][0]))} words: "
                "leave log_z out, give its options as a dict, or estimate it with ppgen.log_z(pair, sizes=x.sum(1))."
            )
        values = torch.tensor(self.of_sizes, dtype=torch.float64, device=sizes.device)
        return values[torch.searchsorted(known, sizes)]

    @property
    def enough(self) -> bool:
        """Whether it is exact, or rests on 20 effective chains; of a value without chains of its own, True."""
        return self.effective_sample_size is None or self.effective_sample_size >= ENOUGH

    @property
    def mixed(self) -> bool:
        """Whether log Z from above began at states of chains that agree."""
        return self.upper_high is not None and self.upper_r_hat is not None and self.upper_r_hat <= _AGREED

    @property
    def flattery(self) -> float | None:
        """How far ``value`` may be below log Z, at 95 percent, nats; None: exact, or it does not say."""
        if self.high is None:
            return None
        ends = [self.upper_high] if self.mixed else [self.high, self.upper_high]
        return max(0.0, *(end - self.value for end in ends if end is not None))

    @property
    def warning(self) -> str:
        """What speaks against the estimate, a sentence; empty: nothing does."""
        of = f" of {self.num_chains or 0:,} chains"
        if not self.enough:
            return (
                f"log Z rests on {self.effective_sample_size:.1f}{of}, fewer than {ENOUGH} effective ones: it is "
                f"likely too low, and the log-likelihood too high{self._by_how_much}; take more temperatures, a larger "
                "budget, or a sandwich, which has an upper side."
            )
        size = self.upper_effective_sample_size
        if size is not None and size < ENOUGH:
            return f"log Z from above rests on {size:.1f}{of}: it is likely too high; take more temperatures."
        return ""

    @property
    def _by_how_much(self) -> str:
        if self.flattery is None:
            return ""
        by = "log Z from above" if self.mixed else "the spread of their weights"
        return f" (it errs towards flattery by up to {self.flattery:.2f} nats, with these chains, at 95 % by {by})"
