"""Priors of a latent vector: standard normal, a flow that learns its density, or a mixture of the guide itself.

    normal        p(z) = N(z; 0, I)
    a flow        p(z) = N(T^-1(z); 0, I) |det dT^-1/dz|               ``maf(num=2)``, ``realnvp``, ``spline``
    vamp(num=K)   p(z) = 1/K sum_k q(z | u_k)                          u_k: learned pseudo-inputs

The expected log-prior of a bound is greatest where p(z) is the guide averaged over the data, the aggregate posterior.
The mixture is that average over K inputs instead of N, which are learned with everything else; it is scored at any z,
and so the guide has to score any z in one pass. Pseudo-inputs are where x is: in (0, 1) by a sigmoid, positive by an
exponential of counts, or any real numbers.

References: Tomczak and Welling, VAE with a VampPrior, 2018; Chen et al., Variational lossy autoencoder, 2017 (flows).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppgen.arguments import Count, check_names, checked
from ppgen.calls import parse_calls
from ppgen.data.spec import DataSpec
from ppgen.errors import UsageError, shown
from ppgen.layers.flows import Flow, flow
from ppgen.layers.networks import ConditionalNormal

__all__ = ["FlowPrior", "Inputs", "NormalPrior", "VampPrior", "inputs_like", "made_prior", "real_inputs"]

Inputs = Callable[[int], nn.Module]
"""Makes so many pseudo-inputs: a module without arguments, whose result, (K, ...), the guide takes."""


class NormalPrior(nn.Module):
    """N(0, I) of ``dim`` numbers; without parameters."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor, guide: Callable[[Any], Any]) -> Any:
        """p(z), of event shape (dim,).

        Args:
            x: data, whose type and place the numbers have.
            guide: q(z | .) of what it takes.
        """
        return dist.Normal(x.new_zeros(self.dim), x.new_ones(self.dim)).to_event(1)


class FlowPrior(NormalPrior):
    """A flow of N(0, I)."""

    def __init__(self, dim: int, flow: Flow) -> None:
        super().__init__(dim)
        self.flow = flow

    def forward(self, x: Tensor, guide: Callable[[Any], Any]) -> Any:
        return self.flow(super().forward(x, guide))


class VampPrior(nn.Module):
    """The guide's mixture over learned pseudo-inputs, which are equally likely."""

    def __init__(self, inputs: nn.Module) -> None:
        super().__init__()
        self.inputs = inputs

    def forward(self, x: Tensor, guide: Callable[[Any], Any]) -> Any:
        components = guide(self.inputs())  # (K,), event (dim,)
        return _Mixture(dist.Categorical(logits=x.new_zeros(components.batch_shape)), components)


class _Mixture(dist.MixtureSameFamily):  # type: ignore[misc]  # Pyro makes it at run time
    """Whose value has the components' dim before it is scored: a flow's context does not broadcast over its value."""

    def log_prob(self, value: Tensor) -> Tensor:
        spread = value.unsqueeze(-2).expand(*value.shape[:-1], self._num_component, -1)  # (..., K, dim)
        log_probs: Tensor = self.component_distribution.log_prob(spread)
        found: Tensor = (log_probs + self.mixture_distribution.logits).logsumexp(-1)
        return found


class _PseudoInputs(nn.Module):
    """``link(raw)``, raw (K, D) of N(start, 1) at first."""

    def __init__(self, start: Tensor, num: int, link: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.raw, self.link = nn.Parameter(start + torch.randn(num, len(start))), link

    def forward(self) -> Tensor:
        return self.link(self.raw)


def inputs_like(spec: DataSpec) -> Inputs:
    """Pseudo-inputs in the space of the data, around their mean at first."""
    mean = spec.centre
    if spec.observation == "counts":
        return lambda num: _PseudoInputs(mean.clamp_min(1e-4).log(), num, torch.exp)
    if spec.in_unit_interval:
        middle = mean if spec.mean is not None else mean + 0.5
        return lambda num: _PseudoInputs(middle.clamp(0.001, 0.999).logit(), num, torch.sigmoid)
    return lambda num: _PseudoInputs(mean, num, torch.clone)


def real_inputs(dim: int) -> Inputs:
    """Pseudo-inputs of ``dim`` real numbers, N(0, 1) at first: of a latent that stands between."""
    return lambda num: _PseudoInputs(torch.zeros(dim), num, torch.clone)


def made_prior(prior: str, dim: int, guide: ConditionalNormal, inputs: Inputs | None = None) -> nn.Module:
    """p(z) by name: ``"normal"``, ``"vamp(num=100)"``, or a flow's, ``"maf(num=2)"``.

    Called with the data and the guide, ``made(x, guide)``, it is a distribution of event shape (dim,).

    Args:
        prior: the name; a flow's with its options (:func:`ppgen.layers.flows.flow`).
        dim: size of z.
        guide: q(z | .), which a mixture is made of.
        inputs: what makes pseudo-inputs of it; None: there are none.

    Raises:
        UsageError: an unknown name or option, a flow that does not score any z, or a mixture of a guide that does not.

    >>> from ppgen.layers.guides import amortised
    >>> from ppgen.layers.dense import MLP
    >>> guide = amortised("gaussian", 2, lambda outputs: MLP(3, outputs, hidden=(8,)))
    >>> prior = made_prior("vamp(num=5)", 2, guide, real_inputs(3))
    >>> prior(torch.zeros(7, 3), guide).log_prob(torch.zeros(7, 2)).shape
    torch.Size([7])
    """
    if prior == "normal":
        return NormalPrior(dim)
    if prior.partition("(")[0].strip() == "vamp":
        return VampPrior(_checked_inputs(prior, guide, inputs)(_num(prior)))
    return FlowPrior(dim, flow(prior, dim, direction="scoring", others=("normal", "vamp")))


def _checked_inputs(prior: str, guide: ConditionalNormal, inputs: Inputs | None) -> Inputs:
    if inputs is None:
        raise UsageError(
            f"prior={shown(prior)} is a mixture of a guide that takes data alone, and this one takes more beside them: "
            "use prior='normal' or a flow, 'maf(num=2)'."
        )
    if guide.flow is not None and not guide.flow.both_ways:
        raise UsageError(
            f"prior={shown(prior)} scores the guide at any z, and this guide is not scored in one pass: use "
            "guide='gaussian' or 'realnvp'."
        )
    return inputs


def _num(prior: str) -> int:
    wanted = "a prior such as 'vamp(num=100)'"
    (_, options), *more = parse_calls(prior, wanted)
    if more:
        raise UsageError(f"expected {wanted}, got {shown(prior)}: name one.")
    check_names("prior vamp", _vamp, options)
    return checked(_vamp)(**options)


def _vamp(num: Count = 100) -> int:
    return num
