"""What gradient estimators need to know of a discrete distribution: its extension to relaxed values, and its noise.

Two families can be relaxed, with natural parameters l (``logits``), for one unit each:

    Bernoulli             z in {0, 1}:       log p(z) = z l - softplus(l)
    OneHotCategorical     z a row of the     log p(z) = sum_c z_c l_c,   l normalised: logsumexp(l) = 0
                          C x C identity

Both are linear in z, and so is defined for relaxed values between the states: the multilinear extension. A state is a
function of uniform noise u and of l, with a relaxation at temperature t (u one number a unit, or one a class):

    Bernoulli             zeta = l + log u - log(1 - u),    z = 1[zeta > 0],         relaxed = sigmoid(zeta / t)
    OneHotCategorical     zeta_c = l_c - log(-log u_c),     z = 1[c = argmax zeta],  relaxed = softmax(zeta / t)

Given z, zeta has a law that can be drawn again from fresh noise v, differentiably in l. With s = 2 z - 1,

    Bernoulli             zeta = s softplus(log v - log(1 - v) + softplus(s l))
    OneHotCategorical     zeta_k = -log(-log v_k) for the class k of z, others zeta_c = -log(-log v_c / p_c - log v_k)

A ``Categorical`` has index values, between which nothing lies: it has states and probabilities, and no relaxation.

Maddison, Mnih, Teh: The Concrete Distribution, ICLR 2017; Jang, Gu, Poole: Categorical Reparameterization with
Gumbel-Softmax, ICLR 2017. Conditional noise: Tucker et al., REBAR, NeurIPS 2017, appendix C.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import MaskedDistribution
from pyro.distributions.util import sum_rightmost
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, one_hot, softplus

from ppgen.distributions.binary_states import digits
from ppgen.distributions.wrappers import WRAPPERS, core_of, family_name
from ppgen.errors import LatentsError, shown
from ppgen.pairs.unit_noise import inside, log_exponential, logit, open_uniform

__all__ = ["BernoulliFamily", "CategoricalFamily", "DiscreteFamily", "OneHotFamily", "check_relaxable", "family_of"]


@dataclass(frozen=True)
class DiscreteFamily(ABC):
    """One of the discrete families; ``fn`` is the site's distribution, in any nesting of events, plates and masks.

    All methods are tensor operations, without a loop over units, and can be traced. Values, noise and natural
    parameters have the shape ``fn.shape()``, particles and plates first; those of a ``OneHotCategorical`` end in C.
    """

    relaxable: ClassVar[bool] = True
    """Whether values between the states mean something."""
    binary: ClassVar[bool] = False
    """Whether a unit is 0 or 1, so that u and 1 - u are antithetic noise."""

    site: str
    """How errors name the distribution: ``"site 'z'"``."""
    needed_by: str
    """Who asks, for errors."""

    def logits(self, fn: Any) -> Tensor:
        """The natural parameters l."""
        logits: Tensor = core_of(fn).logits.expand(fn.shape())
        return logits

    @abstractmethod
    def log_prob(self, fn: Any, value: Tensor) -> Tensor:
        """The multilinear extension of ``fn.log_prob``, equal to it at the states; of fn's batch shape, in nats."""

    def of(self, logits: Tensor) -> Any:
        """A distribution of this family by its natural parameters, normalised or not, each unit by itself."""
        raise self._not_relaxable()

    def mean(self, fn: Any, temperature: Tensor | float = 1.0) -> Tensor:
        """E[z], the probabilities; at another temperature those of the natural parameters l / temperature."""
        raise self._not_relaxable()

    def uniforms(self, fn: Any) -> Tensor:
        """Fresh noise in (0, 1), in the dtype of the natural parameters."""
        if not self.relaxable:
            raise self._not_relaxable()
        return open_uniform(self.logits(fn))

    def relax(self, fn: Any, u: Tensor, temperature: Tensor | float) -> Tensor:
        """The relaxed value of noise ``u``, differentiable in the natural parameters."""
        raise self._not_relaxable()

    def state(self, fn: Any, u: Tensor) -> Tensor:
        """The state of noise ``u``: what :meth:`relax` hardens to, at any temperature."""
        return self.harden(self.relax(fn, u, 1.0))

    def spread(self, mean: Tensor, along: Tensor) -> Tensor:
        """Cov[z] ``along``, the covariance of units that have this mean: dE[z]/dl is Cov[z]."""
        raise self._not_relaxable()

    def share(self, value: Tensor, slope: Tensor) -> Tensor:
        """What each number's unit has in a linear function of the value that has this slope."""
        raise self._not_relaxable()

    def gapped(self, fn: Any, value: Tensor, gap: Tensor | float) -> Tensor:
        """Natural parameters moved as little as makes the state ``value`` the likeliest by ``gap`` (> 0), in nats."""
        raise self._not_relaxable()

    def expected_gap(self, fn: Any, value: Tensor) -> Tensor:
        """By how much a state's zeta exceeds the next, in expectation given the state: -log(1 - p) / p, p its mass."""
        raise self._not_relaxable()

    def harden(self, relaxed: Tensor) -> Tensor:
        """The state that a relaxed value came from, whatever its temperature."""
        raise self._not_relaxable()

    def relax_given(self, fn: Any, value: Tensor, v: Tensor, temperature: Tensor | float) -> Tensor:
        """A relaxed value that hardens to the state ``value``, drawn from the relaxation given it by noise ``v``."""
        raise self._not_relaxable()

    def noise_given(self, fn: Any, value: Tensor, u: Tensor) -> Tensor:
        """The v by which :meth:`relax_given` gives what :meth:`relax` gives by ``u``, for the ``value`` of that u.

        It is uniform given the value, so that the two relaxations can share their noise (REBAR, appendix C).
        """
        raise self._not_relaxable()

    def states(self, fn: Any) -> Tensor:
        """Every state of one draw, (S,) and the event shape, in the dtype of values; S is :meth:`num_states`."""
        return self.at_levels(fn, self._indices(fn))

    @abstractmethod
    def at_levels(self, fn: Any, levels: Tensor) -> Tensor:
        """The values whose units have these levels, whole numbers that end in the units' shape."""

    def level_log_probs(self, fn: Any) -> Tensor:
        """log q of each level of every unit, (..., C): one more dim than units have, in nats."""
        return self.logits(fn).log_softmax(-1)

    def neighbour(self, fn: Any, value: Tensor) -> Tensor:
        """``value`` with one unit of each draw, chosen uniformly, at another of its levels, chosen uniformly.

        As a proposal it is symmetric: from either of two neighbours the other has the same probability.
        """
        places = torch.rand(*fn.batch_shape, self._event(fn).numel(), device=value.device)
        chosen = (places == places.amax(-1, keepdim=True)).reshape(*fn.batch_shape, *self._event(fn))
        steps = torch.randint(1, self._levels(fn), chosen.shape, device=value.device)
        return self._moved(fn, value, torch.where(chosen, steps, 0))

    def neighbours(self, fn: Any, value: Tensor) -> Tensor:
        """``value`` with one unit of each draw at another of its levels, for every unit and level: D (C - 1) of them.

        Shape (D (C - 1), *value.shape), unit after unit.
        """
        shape, levels = self._event(fn), self._levels(fn)
        units = torch.eye(shape.numel(), dtype=torch.long, device=value.device).reshape(-1, *shape)
        others = torch.arange(1, levels, device=value.device).reshape(-1, *[1] * len(shape))
        steps = (units[:, None] * others).flatten(0, 1)
        return self._moved(fn, value, steps.reshape(len(steps), *[1] * len(fn.batch_shape), *shape))

    @abstractmethod
    def _moved(self, fn: Any, value: Tensor, steps: Tensor) -> Tensor:
        """Every unit so many levels on, and round from the last to the first."""

    def num_states(self, fn: Any) -> int:
        """How many states one draw has: 2^D, C^D, or C."""
        return int(self._levels(fn) ** self._event(fn).numel())

    def _event(self, fn: Any) -> torch.Size:
        """The units of one draw."""
        return torch.Size(fn.event_shape)

    @abstractmethod
    def _levels(self, fn: Any) -> int:
        """How many states one unit has."""

    def _indices(self, fn: Any) -> Tensor:
        """Every way to give each unit one of its levels, (S,) and the shape of the units."""
        shape, device = self._event(fn), self.logits(fn).device
        numbers = torch.arange(self.num_states(fn), device=device)
        return digits(numbers, self._levels(fn), shape.numel()).reshape(-1, *shape)

    def _not_relaxable(self) -> LatentsError:
        return LatentsError(
            f"{self.site} is drawn from Categorical, whose values are indices, and {self.needed_by} needs values that "
            "can be relaxed: make it OneHotCategorical."
        )


class BernoulliFamily(DiscreteFamily):
    """Units that are 0 or 1, as floating-point numbers: (..., D)."""

    binary = True

    def of(self, logits: Tensor) -> Any:
        return dist.Bernoulli(logits=logits)

    def mean(self, fn: Any, temperature: Tensor | float = 1.0) -> Tensor:
        return (self.logits(fn) / temperature).sigmoid()

    def log_prob(self, fn: Any, value: Tensor) -> Tensor:
        def of_units(core: Any) -> Tensor:  # z l - softplus(l)
            logits, z = torch.broadcast_tensors(core.logits, value)
            return -binary_cross_entropy_with_logits(logits, z, reduction="none")

        return _nested(fn, of_units)

    def relax(self, fn: Any, u: Tensor, temperature: Tensor | float) -> Tensor:
        return ((self.logits(fn) + logit(u)) / temperature).sigmoid()

    def spread(self, mean: Tensor, along: Tensor) -> Tensor:
        return mean * (1 - mean) * along

    def share(self, value: Tensor, slope: Tensor) -> Tensor:
        return slope * value

    def gapped(self, fn: Any, value: Tensor, gap: Tensor | float) -> Tensor:
        """s max(s l, gap), s = 2 z - 1."""
        sign, logits = 2 * value - 1, self.logits(fn)
        return sign * torch.maximum(sign * logits, torch.as_tensor(gap).to(logits))

    def expected_gap(self, fn: Any, value: Tensor) -> Tensor:
        own = (2 * value - 1) * self.logits(fn)
        return softplus(own) / own.sigmoid()

    def harden(self, relaxed: Tensor) -> Tensor:
        return (relaxed > 0.5).to(relaxed)

    def relax_given(self, fn: Any, value: Tensor, v: Tensor, temperature: Tensor | float) -> Tensor:
        sign = 2 * value - 1
        zeta = sign * softplus(logit(v) + softplus(sign * self.logits(fn)))
        return (zeta / temperature).sigmoid()

    def noise_given(self, fn: Any, value: Tensor, u: Tensor) -> Tensor:
        """v = 1 - (1 - u) / p where z = 1, and 1 - u / (1 - p) where z = 0."""
        sign = 2 * value - 1
        rest = torch.where(value > 0.5, 1 - u, u) / (sign * self.logits(fn)).sigmoid()
        return inside(1 - rest)

    def _moved(self, fn: Any, value: Tensor, steps: Tensor) -> Tensor:
        return torch.where(steps == 1, 1 - value, value)

    def at_levels(self, fn: Any, levels: Tensor) -> Tensor:
        return levels.to(self.logits(fn).dtype)

    def level_log_probs(self, fn: Any) -> Tensor:
        return logsigmoid(torch.stack([-self.logits(fn), self.logits(fn)], -1))

    def _levels(self, fn: Any) -> int:
        return 2


class OneHotFamily(DiscreteFamily):
    """Units that are a row of the identity: (..., C), or (..., D, C)."""

    def of(self, logits: Tensor) -> Any:
        return dist.OneHotCategorical(logits=logits)

    def mean(self, fn: Any, temperature: Tensor | float = 1.0) -> Tensor:
        return (self.logits(fn) / temperature).softmax(-1)

    def log_prob(self, fn: Any, value: Tensor) -> Tensor:
        def of_units(core: Any) -> Tensor:  # sum_c z_c l_c; a class of probability zero may have l = -inf
            logits: Tensor = core.logits.clamp_min(torch.finfo(value.dtype).min)
            return (value * logits).sum(-1)

        return _nested(fn, of_units)

    def relax(self, fn: Any, u: Tensor, temperature: Tensor | float) -> Tensor:
        return ((self.logits(fn) - log_exponential(u)) / temperature).softmax(-1)

    def spread(self, mean: Tensor, along: Tensor) -> Tensor:
        finite = along.clamp_min(torch.finfo(along.dtype).min)  # a class of probability zero may have l = -inf
        return mean * (finite - (mean * finite).sum(-1, keepdim=True))

    def share(self, value: Tensor, slope: Tensor) -> Tensor:
        return (slope * value).sum(-1, keepdim=True).expand_as(value)

    def gapped(self, fn: Any, value: Tensor, gap: Tensor | float) -> Tensor:
        """The greatest l at the class of z; no other above that less the gap."""
        logits = self.logits(fn)
        top = logits.amax(-1, keepdim=True)
        return torch.where(value > 0.5, top, torch.minimum(logits, top - gap))

    def expected_gap(self, fn: Any, value: Tensor) -> Tensor:
        mass = inside((value * self.mean(fn)).sum(-1, keepdim=True))
        return -(-mass).log1p() / mass

    def harden(self, relaxed: Tensor) -> Tensor:
        return one_hot(relaxed.argmax(-1), relaxed.shape[-1]).to(relaxed)

    def state(self, fn: Any, u: Tensor) -> Tensor:
        return self.harden(self.logits(fn) - log_exponential(u))  # before the softmax, which leaves the order

    def relax_given(self, fn: Any, value: Tensor, v: Tensor, temperature: Tensor | float) -> Tensor:
        own = log_exponential(v)  # log(-log v)
        top = (value * own).sum(-1, keepdim=True)
        others = torch.logaddexp(own - self.logits(fn), top)
        return (-torch.where(value > 0.5, top, others) / temperature).softmax(-1)

    def noise_given(self, fn: Any, value: Tensor, u: Tensor) -> Tensor:
        """-log v_k = min_c (-log u_c / p_c) at the class k of z; others -log v_c = -log u_c - p_c (-log v_k)."""
        logits, exponential = self.logits(fn), -u.log()
        top = (value * (exponential.log() - logits)).sum(-1, keepdim=True).exp()
        return inside((-torch.where(value > 0.5, top, exponential - logits.exp() * top)).exp())

    def _moved(self, fn: Any, value: Tensor, steps: Tensor) -> Tensor:
        levels = self._levels(fn)
        return one_hot((value.argmax(-1) + steps) % levels, levels).to(value)

    def at_levels(self, fn: Any, levels: Tensor) -> Tensor:
        return one_hot(levels, self._levels(fn)).to(self.logits(fn).dtype)

    def _event(self, fn: Any) -> torch.Size:
        return torch.Size(fn.event_shape[:-1])

    def _levels(self, fn: Any) -> int:
        return int(fn.event_shape[-1])


class CategoricalFamily(DiscreteFamily):
    """Units that are an index 0..C-1: (...,). It can be enumerated and scored, and not relaxed."""

    relaxable = False

    def logits(self, fn: Any) -> Tensor:
        """The natural parameters, (..., C): one more dim than values have."""
        core = core_of(fn)
        logits: Tensor = core.logits.expand(*fn.shape(), self._levels(fn))
        return logits

    def log_prob(self, fn: Any, value: Tensor) -> Tensor:
        log_prob: Tensor = fn.log_prob(value)
        return log_prob

    def _moved(self, fn: Any, value: Tensor, steps: Tensor) -> Tensor:
        return (value + steps) % self._levels(fn)

    def at_levels(self, fn: Any, levels: Tensor) -> Tensor:
        return levels

    def _levels(self, fn: Any) -> int:
        return int(core_of(fn).logits.shape[-1])


_FAMILIES: dict[type, type[DiscreteFamily]] = {
    dist.Bernoulli: BernoulliFamily,
    dist.OneHotCategorical: OneHotFamily,
    dist.Categorical: CategoricalFamily,
}


def family_of(site: Any, needed_by: str) -> DiscreteFamily:
    """The discrete family of a trace's site, or of a distribution.

    Args:
        site: a site of a trace, which errors name, or a distribution.
        needed_by: who asks, for errors.

    Raises:
        UsageError: it is none of Bernoulli, OneHotCategorical and Categorical.

    >>> prior = dist.Bernoulli(logits=torch.zeros(3)).to_event(1)
    >>> family_of(prior, "a test").log_prob(prior, torch.full((3,), 0.5))  # 3 log(1/2)
    tensor(-2.0794)
    """
    is_site = isinstance(site, dict)
    core = core_of(site["fn"] if is_site else site)
    named = f"site {shown(site['name'])}" if is_site else "a distribution"
    family = next((family for kind, family in _FAMILIES.items() if isinstance(core, kind)), None)
    if family is None:
        raise LatentsError(
            f"{named} is drawn from {family_name(core)}, and {needed_by} knows the discrete distributions "
            f"{', '.join(kind.__name__ for kind in _FAMILIES)}: write it as one of these."
        )
    return family(named, needed_by)


def check_relaxable(site: Any, needed_by: str) -> None:
    """A trace's site has values that can be relaxed.

    Raises:
        UsageError: it is neither Bernoulli nor OneHotCategorical.
    """
    family = family_of(site, needed_by)
    if not family.relaxable:
        raise family._not_relaxable()


def _nested(fn: Any, of_units: Callable[[Any], Tensor]) -> Tensor:
    """The log-probabilities of the units of fn's core, masked and summed as fn's nesting says."""
    if isinstance(fn, dist.Independent):
        return sum_rightmost(_nested(fn.base_dist, of_units), fn.reinterpreted_batch_ndims)  # type: ignore[no-any-return]
    if isinstance(fn, MaskedDistribution):
        log_prob = _nested(fn.base_dist, of_units)
        return log_prob.where(torch.as_tensor(fn._mask, device=log_prob.device), 0.0)
    return _nested(fn.base_dist, of_units) if isinstance(fn, WRAPPERS) else of_units(fn)  # type: ignore[attr-defined]
