"""Stock Pyro as it comes: `SVI` with `Trace_ELBO` (K = 1) or a vectorized `RenyiELBO(alpha=0)` (K > 1)."""

import pyro
import pyro.distributions as dist
import torch
from problem import LATENT, LEARNING_RATE
from pyro.infer import SVI, RenyiELBO, Trace_ELBO
from torch import Tensor
from torch_problem import batches, networks

from peers import Step

__all__ = ["make_step"]


def make_step(batch_size: int, num_particles: int, device: str) -> Step[float]:
    """One call of `svi.step`; Pyro's own validation stays on, as it is by default."""
    encoder, decoder = networks(device)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(LATENT), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", x.shape[0]):
            loc, log_scale = encoder(x).chunk(2, dim=-1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    fetch = batches(batch_size, device)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": LEARNING_RATE}), loss=bound(num_particles))

    def read(loss: float) -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return loss / batch_size

    return Step(lambda: svi.step(fetch()), read)


def bound(num_particles: int) -> Trace_ELBO | RenyiELBO:
    """Pyro's ELBO, or its Renyi bound with alpha = 0, which is the IWELBO."""
    if num_particles == 1:
        return Trace_ELBO()
    return RenyiELBO(alpha=0, num_particles=num_particles, max_plate_nesting=1, vectorize_particles=True)
