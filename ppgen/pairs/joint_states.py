"""log p(x, z, c) of every joint state of the latents c that a model sums out: the table whose sum is log p(x, z).

Of a datum n, with states s of all of its summed latents together,

    t_sn = sum_f log f(x_n, z_n, c_s),      logsumexp_s t_sn = log p(x_n, z_n),      softmax_s t_sn = p(c_s | x_n, z_n)

over the factors f of the model, each summed over the plates that stand within the data's.
"""

from __future__ import annotations

import torch
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ppgen.errors import UsageError, shown
from ppgen.pairs.sites import PARTICLES, Site, data_frame, is_computed
from ppgen.pairs.summation import is_absorbed, is_carrier
from ppgen.pairs.tracing import Particles

__all__ = ["joint_states"]


def joint_states(particles: Particles, needed_by: str) -> Tensor:
    """The table of K particles, (S, K, B), in nats, differentiable; of a model that sums out nothing S is 1.

    Raises:
        UsageError: a latent that is summed out is no datum's own: it stands outside the data plate, or in a further
            one.
    """
    plate = particles.plate
    for name in particles.summed:
        _check_own(particles.model_sites[name], plate, needed_by)
    total = torch.zeros_like(particles.log_p)  # (K, B)
    for name, site in particles.model_sites.items():
        if is_absorbed(site) or is_carrier(site):
            total = total + _table(site, particles.particle_dim, plate)
        elif not (site_is_subsample(site) or is_computed(site)):
            total = total + particles.log_prob(name)
    return total.contiguous().reshape(-1, *particles.log_p.shape)


def _table(site: Site, dim: int, plate: str | None) -> Tensor:
    """A factor of a component, (E, ..., K, B): a dim for each latent that is summed, or 1; particles are at ``dim``."""
    parts = [part["log_prob"] for part in site.get("parts", (site,))]
    tables = torch.broadcast_tensors(*[part.reshape((1,) * (-dim - part.dim()) + part.shape) for part in parts])
    table = torch.cat(tables, dim)
    frame = data_frame(site, plate)
    data = -1 if frame is None else frame.dim
    within = [other for other in range(dim + 1, 0) if other != data]
    table = table.sum(within, keepdim=True) if within else table
    return table.movedim(data, -1).flatten(dim + 1)


def _check_own(site: Site, plate: str | None, needed_by: str) -> None:
    frames = {frame.name for frame in site["cond_indep_stack"] if frame.vectorized} - {PARTICLES}
    if frames != {plate}:
        where = "in the plate " + shown(min(frames - {plate})) if frames - {plate} else "outside the data plate"
        raise UsageError(
            f"{needed_by} takes the states of each datum's latents by themselves, and site {shown(site['name'])} "
            f"stands {where}: move it, or choose 'elbo'."
        )
