r"""The log-density of a transformed distribution at a value, under the parameters in force now.

For y = T(x), x ~ p, the density is log q(y; phi) = log p(x) - log |det dT/dx|, x = T^{-1}(y; phi). Sticking the landing
and doubly reparameterized gradients need d log q(y; phi)/dy with phi held fixed. A flow that answers T^{-1}(y) from
memory gives the x that y was drawn from, whose gradient does not pass through y at all: it is another derivative.

Where a transform has an inverse, it is taken afresh. Where it has none (planar, radial, Sylvester, neural
autoregressive), the preimage x0 of the draw is known as a number, and one step of Newton's method from it,

    x(y, phi) = x0 - J^{-1} (T(x0; phi) - y),        J = dT/dx at x0,        x0 and J constants,

has the value x0, since T(x0; phi) = y, and the first derivatives of the inverse,

    dx/dy = J^{-1},        dx/dphi = -J^{-1} dT(x0; phi)/dphi,

which are those that implicit differentiation of T(x; phi) = y gives. (Second derivatives are not.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import TransformedDistribution, transforms

from ppgen.errors import UsageError, shown
from ppgen.pairs.memories import forget, parts_of, rebuilt
from ppgen.pairs.sites import Site

__all__ = ["NO_INVERSE", "log_prob_at"]

NO_INVERSE = (KeyError, NotImplementedError)
"""What ``Transform._inverse`` raises where there is none: Pyro's flows the first, torch's base class the second."""


def log_prob_at(site: Site, drawn: Site | None = None) -> Tensor:
    """The site's log-probability at its value, of its distribution's batch shape, in nats.

    Differentiable in the value, by the inverse under the parameters that the transforms read now, and in those; nothing
    is answered from memory. To be called within the swap of parameters, if there is one.

    Args:
        site: of a run in which the value was given.
        drawn: the site of the run that drew the value (or its detached copy), whose distribution remembers it; with
            the same parameters in value. It serves transforms without inverse.

    Raises:
        UsageError: a transform of the site has no inverse, and the run that drew the value is not given or unknown.
    """
    fn, value = site["fn"], site["value"]
    parts = list(parts_of(fn))
    if any(part._cache_size for part in parts):
        known = [] if drawn is None else list(_preimages(drawn["fn"], drawn["value"]))
        preimages = iter(known if len(known) == len(parts) else [None] * len(parts))
        fn = rebuilt(fn, lambda part: _Afresh(part, next(preimages), site["name"]))
    log_prob: Tensor = fn.log_prob(value, *site["args"], **site["kwargs"])
    return log_prob


class _Afresh(transforms.Transform):
    """A transform without memory, whose inverse is differentiable in y and in the parameters."""

    bijective = True

    def __init__(self, transform: transforms.Transform, preimage: Tensor | None, name: str) -> None:
        super().__init__()
        self.transform, self.preimage, self.name = transform, preimage, name
        self.domain, self.codomain = transform.domain, transform.codomain
        self.by_newton = False

    @property
    def sign(self) -> Any:
        return self.transform.sign

    def forward_shape(self, shape: Any) -> Any:
        return self.transform.forward_shape(shape)

    def inverse_shape(self, shape: Any) -> Any:
        return self.transform.inverse_shape(shape)

    def _call(self, x: Tensor) -> Tensor:
        forget(self.transform)
        y: Tensor = self.transform(x)
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        forget(self.transform)
        self.by_newton = False
        try:
            x: Tensor = self.transform.inv(y)
        except (*NO_INVERSE, RuntimeError) as error:
            if self.preimage is None and not isinstance(error, NO_INVERSE):
                raise
            self.by_newton = True
            return self._step(y)
        return x

    def _step(self, y: Tensor) -> Tensor:
        """One step of Newton's method from the known preimage; see the module's docstring."""
        if self.preimage is None:
            raise UsageError(
                f"site {shown(self.name)} is scored at a value that it did not draw, and its "
                f"{type(self.transform).__name__} has no inverse: use a transform that has one (couplings, splines, "
                "affine autoregressive), or an objective without fixed parameters ('elbo', 'iwelbo')."
            )
        start = self.preimage.expand(self.transform.inverse_shape(y.shape))
        if not torch.is_grad_enabled():
            return start
        return start - _solved(_jacobian(self._call, start, self.domain.event_dim), self._call(start) - y, self.domain)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        if self.by_newton:
            y = self._call(x)  # some transforms know the Jacobian of their last call only
        log_jacobian: Tensor = self.transform.log_abs_det_jacobian(x, y)
        return log_jacobian


def _jacobian(function: Callable[[Tensor], Tensor], at: Tensor, event_dim: int) -> Tensor:
    """dT/dx at x: (..., n, n) for an event of n numbers, the output's first; (...) elementwise, for event_dim 0."""
    with torch.enable_grad():
        x = at.detach().clone().requires_grad_()
        y = function(x)
        if event_dim == 0:
            return torch.autograd.grad(y.sum(), x)[0]
        rows = y.flatten(-event_dim).unbind(-1)
        parts = [torch.autograd.grad(row.sum(), x, retain_graph=True)[0].flatten(-event_dim) for row in rows]
    return torch.stack(parts, dim=-2)


def _solved(jacobian: Tensor, residual: Tensor, domain: Any) -> Tensor:
    """J^{-1} r, of the shape of r."""
    if domain.event_dim == 0:
        return residual / jacobian
    flat = residual.flatten(-domain.event_dim).unsqueeze(-1)
    solution: Tensor = torch.linalg.solve_ex(jacobian, flat).result
    return solution.reshape(residual.shape)


def _preimages(fn: Any, value: Tensor) -> Iterator[Tensor | None]:
    """What each of the distribution's :func:`parts_of` was called with when ``value`` was drawn; None: unknown."""
    found: dict[int, Tensor] = {}
    _walk(fn, value, found)
    return (found.get(id(part)) for part in parts_of(fn))


def _walk(part: Any, y: Any, found: dict[int, Tensor]) -> Any:
    """From an output to the input that is remembered with it, noting each; None where it is not remembered."""
    if isinstance(part, TransformedDistribution):
        for transform in reversed(part.transforms):
            y = _walk(transform, y, found)
        return _walk(part.base_dist, y, found)
    if isinstance(part, transforms.ComposeTransform):
        for each in reversed(part.parts):
            y = _walk(each, y, found)
        return y
    if isinstance(part, transforms.IndependentTransform):
        return _walk(part.base_transform, y, found)
    if isinstance(part, transforms.Transform):
        return _remembered(part, y, found)
    return _walk(part.base_dist, y, found) if hasattr(part, "base_dist") else None


def _remembered(transform: transforms.Transform, y: Any, found: dict[int, Tensor]) -> Any:
    if y is None:
        return None
    x, known = getattr(transform, "_cached_x_y", (None, None))
    if known is y and x is not None:
        found[id(transform)] = x.detach()
        return x
    try:
        with torch.no_grad():
            return transform.inv(y)
    except (*NO_INVERSE, RuntimeError):
        found.pop(id(transform), None)  # called twice, and it remembers the last call
        return None
