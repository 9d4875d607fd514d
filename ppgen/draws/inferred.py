"""What a guide says of new data: draws of their latents, with the means and deviations of these."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ppgen.errors import UsageError
from ppgen.machine.entry import entry_point
from ppgen.pages.brief import Brief
from ppgen.pairs.looking import seeded
from ppgen.pairs.pair import Pair, check_explicit
from ppgen.pairs.places import ready
from ppgen.pairs.tracing import Batch
from ppgen.posterior.groups import posterior_groups
from ppgen.posterior.inference_data import to_inference_data

__all__ = ["Posterior", "infer"]


@dataclass(frozen=True, eq=False, repr=False)
class Posterior(Brief):
    """S draws of the latents of B data, z_s ~ q(z | x), or of the posterior by resampling.

    Attributes:
        samples: by site, (S, B, *event); of a latent of the whole data set (S, *event).
        log_weights: log p(x, z_s) - log q(z_s | x), nats, (S, B), (S,) or (S, 1) without a data plate; None: resampled.
        batch: where they were drawn.
    """

    samples: dict[str, Tensor]
    log_weights: Tensor | None
    batch: Batch
    _pair: Pair
    _options: dict[str, Any] = field(default_factory=dict)

    @property
    def mean(self) -> dict[str, Tensor]:
        """Over draws, by site, (B, *event): of real numbers, and of bits; a name among classes has none."""
        return {name: draws.mean(0) for name, draws in self._numbers.items()}

    @property
    def sd(self) -> dict[str, Tensor]:
        """The standard deviation over draws, by site, (B, *event)."""
        return {name: draws.std(0) for name, draws in self._numbers.items()}

    @property
    def _numbers(self) -> dict[str, Tensor]:
        return {name: draws for name, draws in self.samples.items() if draws.is_floating_point()}

    def to_inference_data(self, **options: Any) -> Any:
        """These draws for ArviZ, with what the model makes of them: :func:`ppgen.to_inference_data` at the batch.

        Args:
            options: ``coords``, ``dims``, ``attrs``, ``progress``, as there.
        """
        return to_inference_data(self._pair, self.batch, **self._options, **options)

    def brief(self) -> tuple[str, list[tuple[str, ...]]]:
        """How many draws of how many data, and each site with its shape."""
        num = len(next(iter(self.samples.values())))
        rows: list[tuple[str, ...]] = [(name, str(tuple(draws.shape))) for name, draws in self.samples.items()]
        return f"Posterior of {len(self.batch[0]):,} data, {num:,} draws each", rows


@entry_point
def infer(
    pair: Any,
    batch: Batch,
    *,
    num_samples: int = 500,
    resampled_from: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Posterior:
    """Draws of the latents of data under the guide.

    Args:
        pair: a pair, or any module with ``model`` and ``guide``, trained or not; it is left as it was.
        batch: what the data set yields, ``(x,)`` or ``(x, y)``.
        num_samples: S.
        resampled_from: draw so many of the guide, and of them ``num_samples`` by their smoothed weights, which are
            nearer to the posterior where the weights allow it (:func:`ppgen.to_inference_data`); None: the guide's.
        seed: seeds the draws; the global random state is left as it was.
        progress: show a progress bar, where there is a terminal or a notebook.

    Raises:
        UsageError: the pair is implicit, or draws no latent; S < 1.

    >>> import ppgen, torch
    >>> pair = ppgen.make_pair("linear_gaussian", ppgen.DataSpec("numbers", 3, "real"), latent_dim=2)
    >>> infer(pair, (torch.zeros(4, 3),), num_samples=50)
    Posterior of 4 data, 50 draws each
      z  (50, 4, 2)
    """
    pair, batch = ready(pair, batch)
    check_explicit(pair, "a posterior")
    with seeded(seed):
        groups = posterior_groups(pair, batch, num_samples, resampled_from, progress=progress)
    if not groups.posterior:
        raise UsageError(f"{type(pair).__name__} draws no latent, and has no posterior: there is nothing to infer.")
    weights = groups.sample_stats.get("log_weight")
    return Posterior(
        {name: variable.squeezed()[0] for name, variable in groups.posterior.items()},
        None if weights is None else weights.squeezed()[0],
        batch,
        pair,
        {"num_samples": num_samples, "resampled_from": resampled_from, "seed": seed},
    )
