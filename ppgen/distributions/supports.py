"""Bijections that torch lacks: from the reals to the support of a mixture of one family, which is its components'."""

from __future__ import annotations

from typing import Any

from torch.distributions import biject_to, constraints, transform_to

__all__: list[str] = []

_MIXTURES: Any = getattr(constraints, "MixtureSameFamilyConstraint", None)  # of torch 2.6 and later


def _of_components(registry: Any) -> None:
    registry.register(_MIXTURES, lambda constraint: registry(constraint.base_constraint))


if _MIXTURES is not None:
    for _registry in (biject_to, transform_to):
        _of_components(_registry)
