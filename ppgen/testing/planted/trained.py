"""Pairs that were trained, and what their guides cost then.

    vae        z in R^2, x in {0, 1}^8; KL(q(z | x) || p(z | x)) and marginals by a sum over a grid of z, of step 0.1
    estimator  a linear-Gaussian pair whose guide follows the gradient of E log p(x, z) - f log q(z | x): at f = 1 the
               bound's, and else one whose fixed point is the posterior to the power 1 / f, of variance f V

The data that are diagnosed come from the model as it is after training: what is wrong is the guide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ppgen.data import DataSpec
from ppgen.draws.samples import prior_samples
from ppgen.inference import Beta
from ppgen.models import VAE, LinearGaussian
from ppgen.objectives.bounds import Bound
from ppgen.pairs.looking import looking
from ppgen.pairs.tracing import Particles, Program, run_particles
from ppgen.runs import fit
from ppgen.testing.planted.fault import Planted, as_data, planted
from ppgen.testing.planted.linear import Linear
from ppgen.testing.planted.sizes import Off, of_normals

__all__ = ["WrongFactor", "grid_off"]

_FEATURES, _LONG = 8, 1000
_SIDE, _STEP = 101, 0.1


@torch.no_grad()
def grid_off(pair: Any, x: Tensor, side: int = _SIDE, step: float = _STEP) -> Off:
    """Of a pair with one latent z in R^2, at data (B, D): sums over a square of side^2 points around zero."""
    line = (torch.arange(side, dtype=x.dtype) - (side - 1) / 2) * step
    grid = torch.cartesian_prod(line, line)  # (G, 2)
    with looking(pair):
        z = grid[:, None, :].expand(-1, len(x), -1)
        run = run_particles(Program(pair.model, pair.guide), (x,), len(grid), {"z": z})
    log_q, log_p = (value.double().log_softmax(0) for value in (run.log_q, run.log_p))  # (G, B)
    kl = (log_q.exp() * (log_q - log_p)).sum(0)
    q, p = (value.exp().reshape(side, side, -1) for value in (log_q, log_p))
    distances, sds = [], []
    for axis in (1, 0):  # summed out
        on, truly = q.sum(axis), p.sum(axis)  # (side, B)
        mean = line.double() @ truly
        distances.append((on - truly).cumsum(0).abs().sum(0) * step)
        sds.append((truly * (line.double()[:, None] - mean).square()).sum(0).sqrt())
    return Off(kl, torch.stack(distances, -1), torch.stack(sds, -1))


def _drawn(pair: VAE, num: int, seed: int) -> Tensor:
    return prior_samples(pair, (torch.zeros(1, _FEATURES),), num, seed=seed).x


def _vae(steps: int, beta: float = 1.0) -> Planted:
    spec = DataSpec("planted", _FEATURES, "binary")
    truth, pair = (VAE(spec, 2, hidden=(16,)) for _ in range(2))
    with torch.no_grad():
        for parameter in truth.decoder.parameters():
            parameter.mul_(2.0)
    seed = int(torch.randint(2**31, ()))
    x = _drawn(truth, 1000, seed)
    fit(pair, x, Beta(beta=beta), steps=steps, batch_size=100, lr=5e-3, seed=seed, eager=True, progress=False)
    pair.eval()
    data = as_data(lambda num: _drawn(pair, num, seed + num), "binary")
    off = grid_off(pair, data.rows("test")[0])
    return Planted(pair, data, off.nats, off.deviations)


@planted("vae")
def long_trained(t: float) -> Planted:
    """Trained by the bound for 1,000 steps."""
    return _vae(_LONG)


@planted("vae", "another weight of the KL")
def another_weight(t: float) -> Planted:
    """Trained with beta = 1 - 0.9 t."""
    return _vae(_LONG, 1 - 0.9 * t)


@planted("vae", "trained too short")
def too_short(t: float) -> Planted:
    """Trained for few steps, 200 at most."""
    return _vae(max(1, int(200 * (1 - t))))


@dataclass(frozen=True, kw_only=True)
class WrongFactor(Bound):
    """The mean of log p - f log q over particles, as if it were the ELBO."""

    needs_rsample: ClassVar[bool] = True

    num_particles: int = 4
    factor: float = 1.0

    def estimate(self, particles: Particles) -> Tensor:
        return (particles.log_p - self.factor * particles.log_q).mean(0)


def _estimated(factor: float) -> Planted:
    truth = Linear.drawn()
    pair = LinearGaussian(DataSpec("planted", len(truth.weight), "real"), truth.weight.shape[1], noise=truth.noise)
    pair = pair.double()
    with torch.no_grad():
        pair.weight.copy_(truth.weight)
    pair.set_exact_guide()
    for parameter in (pair.weight, pair.loc, pair.log_noise):
        parameter.requires_grad_(False)
    data, seed = as_data(truth.draw), int(torch.randint(2**31, ()))
    objective = WrongFactor(factor=factor)
    fit(pair, data, objective, steps=200, batch_size=100, lr=3e-2, seed=seed, eager=True, progress=False)
    x = data.rows("test")[0]
    with torch.no_grad():
        scale = pair.guide_scale.tril(-1) + pair.guide_scale.diagonal().exp().diag()
        q = torch.distributions.MultivariateNormal(x @ pair.guide_weight.T + pair.guide_loc, scale_tril=scale)
        off = of_normals(q, truth.posterior(x))
    return Planted(pair, data, off.nats, off.deviations)


@planted("estimator")
def right_factor(t: float) -> Planted:
    """f = 1; training begins at the posterior, and leaves it by noise alone."""
    return _estimated(1.0)


@planted("estimator", "wrong factor")
def wrong_factor(t: float) -> Planted:
    """f = 1 + t, or 1 - 0.8 t."""
    return _estimated(1 + t if float(torch.rand(())) < 0.5 else 1 - 0.8 * t)
