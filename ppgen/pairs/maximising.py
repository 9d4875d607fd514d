"""Pairs whose complete-data likelihood is maximised in closed form: what expectation maximization asks of them.

    E step    S = sum_n E_{p(z | x_n, theta)} s(x_n, z)          expected sufficient statistics, sums over data
    M step    theta' = argmax_theta  sum_n E log p(x_n, z | theta),  a function of S alone

Statistics are sums, so that those of parts of the data add up to those of the whole, and averages of them make online
EM. Hard, the expectation is the value at the most probable z; a pair that knows no other says so by giving log p(x, z)
there in place of log p(x).

Maximum likelihood from incomplete data via the EM algorithm, Dempster, Laird and Rubin, 1977, section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from ppgen.errors import UsageError, setting
from ppgen.pairs.parameters import owner

__all__ = ["Conjugate", "HardMaximising", "Maximising", "conjugate_pair", "maximising_pair"]


@runtime_checkable
class Maximising(Protocol):
    """A pair that EM can train: both steps in closed form, and the evidence that they never lower.

    One that has a closed form with some of its options alone says ``has_closed_form``, a bool.
    """

    def expected_statistics(self, *batch: Any, hard: bool = False) -> dict[str, Tensor]:
        """S of a batch at the pair's present parameters, by name; ``count``, (), is how many data these are of."""

    def maximised(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The M step: values of the pair's parameters, by their names in it; those that are not named stay.

        Raises:
            UsageError: there is no maximum: an empty component, a singular covariance.
        """

    def log_evidence(self, *batch: Any) -> Tensor:
        """The exact log p(x), (B,), in nats."""


@runtime_checkable
class Conjugate(Protocol):
    """A pair whose parameters are latents of all the data with a conjugate prior: coordinate ascent trains its guide.

    Its guide q(theta) has the family of p(theta), and the latents z of a datum are summed out of the model, or found by
    coordinate ascent themselves. One that is conjugate with some of its options alone says ``is_conjugate``, a bool.
    """

    def expected_statistics(self, *batch: Any) -> dict[str, Tensor]:
        """Sums over a batch of E s(x_n, z_n) at the best q(z), by name; ``count``, (), is how many data these are."""

    def maximised(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Parameters of q(theta), by their names in the pair, at the prior's and these sums over all data."""

    def local_bound(self, *batch: Any) -> Tensor:
        """log sum_z exp E_q(theta) log p(x_n, z | theta), (B,), in nats: what a datum adds to the bound."""

    def divergence(self) -> Tensor:
        """KL(q(theta) || p(theta)), (), in nats: what is taken off it once."""


def conjugate_pair(model: Callable[..., Any], needed_by: str) -> Any:
    """The pair whose model it is, which has a conjugate prior.

    Raises:
        UsageError: it has none.
    """
    pair: Any = owner(model)
    if isinstance(pair, Conjugate) and getattr(pair, "is_conjugate", True):
        return pair
    what = "a function" if pair is None else type(pair).__name__
    raise UsageError(
        f"{needed_by} climbs by the closed forms of a conjugate pair, got {what}, which as it is made has none: give "
        "it expected_statistics(x), maximised(statistics), local_bound(x) and divergence(), take the model "
        "'dp_mixture' or 'lda', or choose an objective with a gradient, such as 'elbo'."
    )


@runtime_checkable
class HardMaximising(Protocol):
    """A pair with both steps at the most probable z alone, since no expectation under p(z | x) is known."""

    def expected_statistics(self, *batch: Any, hard: bool = True) -> dict[str, Tensor]:
        """S of a batch at the most probable z, by name; ``count``, (), is how many data these are of."""

    def maximised(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The M step, as of :class:`Maximising`."""

    def log_joint(self, *batch: Any) -> Tensor:
        """log p(x, z) at the most probable z, (B,), in nats, which hard EM never lowers."""


def maximising_pair(model: Callable[..., Any], needed_by: str, *, hard: bool = True) -> Any:
    """The pair whose model it is, which EM can train; ``hard``: whether z at its most probable value is enough.

    Raises:
        UsageError: it has no closed form.
    """
    pair: Any = owner(model)
    if getattr(pair, "has_closed_form", True):
        if isinstance(pair, Maximising):
            return pair
        if isinstance(pair, HardMaximising):
            if hard:
                return pair
            raise UsageError(
                f"{needed_by} takes expectations over the latents of {type(pair).__name__}, which knows their most "
                f"probable values alone: train with {setting('O', 'hard', True)}."
            )
    conjugate = isinstance(pair, Conjugate) and getattr(pair, "is_conjugate", True)
    other = "'cavi', which bounds it" if conjugate else "an objective with a gradient, such as 'elbo'"
    raise UsageError(
        f"{needed_by} takes both steps in closed form, and {type(pair).__name__} as it is made has none: give it "
        f"expected_statistics(x), maximised(statistics) and log_evidence(x), or choose {other}."
    )
