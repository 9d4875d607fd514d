"""Where a number that is not finite first arose."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pyro
import torch
from torch import Tensor

from ppgen.errors import shown
from ppgen.pairs.parameters import isolated, kept_buffers, owner
from ppgen.pairs.sampling import unconditioned
from ppgen.pairs.tracing import Batch, Program, run_particles

__all__ = ["first_nonfinite"]


def first_nonfinite(program: Program, batch: Batch, gradients: Mapping[str, Tensor] = MappingProxyType({})) -> str:
    """Names the first site (guide's before model's, in order) whose value or log-probability is not finite.

    Where all are finite, the first parameter whose gradient is not. An implicit pair's model is judged by its draws.
    """
    implicit = getattr(owner(program.model), "implicit", False)
    still = kept_buffers(program.model, program.guide)
    with torch.no_grad(), isolated(), pyro.validation_enabled(False), still:
        particles = run_particles(program, batch, 1)
        drawn = unconditioned(program.model, batch) if implicit else particles.model_sites
        for kind, sites in (("guide", particles.guide_sites), ("model", drawn)):
            for name, site in sites.items():
                if torch.is_tensor(site["value"]) and not _finite(site["value"]):
                    return f"the value of site {shown(name)} of the {kind} is not finite"
                if not implicit and not _finite(site["fn"].log_prob(site["value"])):
                    return f"the log-probability of site {shown(name)} of the {kind} is not finite"
    names = [name for name, gradient in gradients.items() if not _finite(gradient)]
    what = f"the gradient of parameter {shown(names[0])}" if names else "the loss"
    return f"{what} is not finite, though every site of the pair is"


def _finite(value: Tensor) -> bool:
    return bool(torch.isfinite(value).all())
