"""Latents of a model that are summed out: those marked for enumeration that the guide leaves to the model.

A run under Pyro's enumeration gives every state of such a latent c along a dim of its own. The factors of the model
that share enumerated latents are one *component*, and what it adds to the log-density is

    log sum_c  prod_f f(x, z, c),

with a product over each plate that c stands outside of and no plate that it stands in (Pyro's ``ops.contract``: exact,
by message passing, so that a Markov chain of T steps takes T sums). Of a site's mask the sum sees what is left in, and
its scale stands outside the sum: every site of a component must have the same, beside the N / B of the data plate.

The component stands at one of its sites, the *carrier*: the last observed one, or a latent of the guide where none is
observed, whose log-probability it becomes; its other sites are *absorbed*. Where a component stands outside the data
plate with data inside (a class of the whole data set), its N / B too stands outside the sum: log p of the batch's data
together times N / B, which has a bias for B < N.

Obermeyer et al.: Tensor Variable Elimination for Plated Factor Graphs, ICML 2019 (the contraction).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.ops import packed
from pyro.ops.contract import _partition_terms, contract_tensor_tree
from pyro.ops.rings import LogRing
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from ppgen.errors import UsageError, shown
from ppgen.pairs.sites import Site, data_frame, is_computed, is_summed, raw_log_prob

__all__ = ["absorbing", "is_absorbed", "is_carrier"]


def is_absorbed(site: Site) -> bool:
    """Whether the site's log-probability is part of a component that stands at another site."""
    return "carrier" in site and site["carrier"] != site["name"]


def is_carrier(site: Site) -> bool:
    """Whether a component stands at the site."""
    return "carrier" in site and bool(site["carrier"] == site["name"])


def absorbing(sites: dict[str, Site], plate: str | None) -> dict[str, Site]:
    """The sample sites of one run under enumeration, with every component at its carrier.

    Args:
        sites: by name, in order, without those that subsample a plate.
        plate: name of the data plate.

    Raises:
        UsageError: the sites of a component are scaled differently; its plates are not nested in one another; a site
            has a batch dim that is neither a plate's nor enumerated.
    """
    trace: Any = poutine.Trace()
    for name, site in sites.items():
        log_prob = raw_log_prob(site)
        mask = None if is_summed(site) else site["mask"]
        log_prob = scale_and_mask(log_prob, mask=mask)
        own = {**site, "infer": dict(site["infer"]), "mask": None}
        trace.nodes[name] = {**own, "log_prob": log_prob, "unscaled_log_prob": log_prob}
    try:
        trace.pack_tensors()
    except ValueError as error:
        raise UsageError(f"{' '.join(str(error).split())} (while summing out {_summed_names(sites)}).") from error
    symbols = {s["infer"]["_enumerate_symbol"] for s in trace.nodes.values() if is_summed(s)}
    factors = {name: site["packed"]["log_prob"] for name, site in trace.nodes.items()}
    names = {id(factor): name for name, factor in factors.items()}
    found = dict(sites)
    for terms, dims in _partition_terms(LogRing(), list(factors.values()), symbols):
        members = sorted((names[id(term)] for term in terms), key=list(sites).index)
        if dims:
            found |= _component({name: trace.nodes[name] for name in members}, dims, trace, plate)
        else:
            found |= {name: _without_one_state(sites[name]) for name in members}
    return found


def _without_one_state(site: Site) -> Site:
    """A site beyond all sums, whose log-probability has no dim of a summed latent, but of one that has one state."""
    log_prob = raw_log_prob(site)
    own = max((-frame.dim for frame in site["cond_indep_stack"] if frame.vectorized), default=0)
    more = log_prob.shape[: max(0, log_prob.dim() - own)]
    return {**site, "scored": log_prob.reshape(log_prob.shape[len(more) :])} if more and set(more) == {1} else site


def _component(members: Mapping[str, Site], dims: set[str], trace: Any, plate: str | None) -> dict[str, Site]:
    ordinals = {
        name: frozenset(trace.plate_to_symbol[f.name] for f in site["cond_indep_stack"] if f.vectorized)
        for name, site in members.items()
    }
    tree: OrderedDict[frozenset[str], list[Tensor]] = OrderedDict()
    for name, site in members.items():
        tree.setdefault(ordinals[name], []).append(site["packed"]["log_prob"])
    try:
        ((ordinal, (term,)),) = contract_tensor_tree(tree, set(dims)).items()
    except NotImplementedError as error:  # of Pyro, where plates are no tree
        raise UsageError(
            f"{_summed_names(members)} cannot be summed out: the plates of {_quoted(members)} are not nested in one "
            "another: draw it in the guide, or make one of the plates sequential."
        ) from error
    scale = _common_scale(members, plate)
    frames = {f.name: f for site in members.values() for f in site["cond_indep_stack"] if f.vectorized}
    kept = tuple(f for name, f in frames.items() if trace.plate_to_symbol[name] in ordinal)
    whole = [f.full_size / f.size for name, f in frames.items() if name == plate]
    carrier = _carrier(members)
    result = {name: {**trace.nodes[name], "carrier": carrier} for name in members}
    result[carrier] |= {
        "scored": packed.unpack(term, trace.symbol_to_dim),
        "cond_indep_stack": kept,
        "scale": scale * whole[0] if whole else scale,
        "mask": None,
    }
    return result


def _carrier(members: Mapping[str, Site]) -> str:
    observed = [name for name, site in members.items() if site["is_observed"] and not is_computed(site)]
    drawn = [name for name, site in members.items() if not is_summed(site)]
    return (observed or drawn or list(members))[-1]


def _common_scale(members: Mapping[str, Site], plate: str | None) -> Any:
    """The scale of all sites, less the data plate's N / B."""
    scales = {}
    for name, site in members.items():
        frame = data_frame(site, plate)
        scales[name] = site["scale"] if frame is None else site["scale"] * frame.size / frame.full_size
    (first, scale), *others = scales.items()
    for name, other in others:
        if not _same(scale, other):
            raise UsageError(
                f"sites {shown(first)} and {shown(name)} are scaled differently, and {_summed_names(members)} is "
                "summed over both: a scale stands outside the sum, so put one poutine.scale around all of them."
            )
    return scale


def _same(a: Any, b: Any) -> bool:
    if not (torch.is_tensor(a) or torch.is_tensor(b)):
        return bool(abs(a - b) <= 1e-9 * abs(a))
    if get_proxy_mode() is not None:  # values of a graph that is being made: the run before has told
        return True
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    return a.numel() == b.numel() and bool(torch.isclose(a.flatten(), b.flatten(), rtol=1e-5).all())


def _summed_names(sites: Mapping[str, Site]) -> str:
    return "site " + _quoted([name for name, site in sites.items() if is_summed(site)])


def _quoted(names: Mapping[str, Site] | Sequence[str]) -> str:
    return ", ".join(map(repr, names))
