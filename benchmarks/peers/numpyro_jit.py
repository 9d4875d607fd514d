"""NumPyro: `svi.update` and the fetch of the batch under one `jax.jit`, one step a call or many by `lax.scan`."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import problem
from numpyro.infer import SVI, RenyiELBO, Trace_ELBO
from problem import LATENT

from peers import Step

__all__ = ["make_scan", "make_step"]

Layers = list[tuple[jax.Array, jax.Array]]

SCANNED = 25  # steps of one call by `lax.scan`


def make_step(batch_size: int, num_particles: int, device: str) -> Step[jax.Array]:
    """One jitted update; the losses stay on the device until they are read."""
    jax.config.update("jax_platforms", device)
    jax.config.update("jax_default_matmul_precision", "float32")  # as torch has it: no TF32 on a GPU
    svi = vae_svi(num_particles)
    data = jnp.asarray(problem.images())
    indices = problem.index_batches(batch_size)
    permutation = jnp.arange(len(data))
    state = svi.init(jax.random.key(0), data[:batch_size])

    @partial(jax.jit, donate_argnums=0)
    def step(state: Any, data: jax.Array, permutation: jax.Array, start: int) -> tuple[Any, jax.Array]:
        return svi.update(state, data[jax.lax.dynamic_slice(permutation, (start,), (batch_size,))])

    def update() -> jax.Array:
        nonlocal permutation, state
        fresh, start = next(indices)
        if fresh is not None:
            permutation = jnp.asarray(fresh)
        state, loss = step(state, data, permutation, start)
        return loss

    def read(loss: jax.Array) -> float:
        jax.block_until_ready(state)
        return float(loss) / batch_size

    return Step(update, read)


def make_scan(batch_size: int, num_particles: int, device: str) -> Step[jax.Array]:
    """`SCANNED` updates a call under `lax.scan`, as NumPyro's `svi.run` does them; the old state's memory donated."""
    jax.config.update("jax_platforms", device)
    jax.config.update("jax_default_matmul_precision", "float32")
    svi = vae_svi(num_particles)
    data = jnp.asarray(problem.images())
    indices = problem.index_batches(batch_size)
    permutation = np.arange(len(data))
    state = svi.init(jax.random.key(0), data[:batch_size])

    @partial(jax.jit, donate_argnums=0)
    def steps(state: Any, data: jax.Array, rows: jax.Array) -> tuple[Any, jax.Array]:
        return jax.lax.scan(lambda state, these: svi.update(state, data[these]), state, rows)

    def next_rows() -> Any:
        nonlocal permutation
        fresh, start = next(indices)
        if fresh is not None:
            permutation = fresh
        return permutation[start : start + batch_size]

    def update() -> jax.Array:
        nonlocal state
        state, losses = steps(state, data, np.stack([next_rows() for _ in range(SCANNED)]))
        return losses[-1]

    def read(loss: jax.Array) -> float:
        jax.block_until_ready(state)
        return float(loss) / batch_size

    return Step(update, read, per_call=SCANNED)


def vae_svi(num_particles: int) -> SVI:
    """The VAE in NumPyro, with networks of plain functions."""
    first_encoder, first_decoder = jax.tree.map(jnp.asarray, problem.first_values())

    def model(x: jax.Array) -> None:
        decoder = numpyro.param("decoder", first_decoder)
        with numpyro.plate("data", x.shape[0]):
            z = numpyro.sample("z", dist.Normal(jnp.zeros(LATENT), 1.0).to_event(1))
            numpyro.sample("x", dist.Bernoulli(logits=mlp(decoder, z)).to_event(1), obs=x)

    def guide(x: jax.Array) -> None:
        encoder = numpyro.param("encoder", first_encoder)
        with numpyro.plate("data", x.shape[0]):
            loc, log_scale = jnp.split(mlp(encoder, x), 2, axis=-1)
            numpyro.sample("z", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))

    bound = Trace_ELBO() if num_particles == 1 else RenyiELBO(alpha=0, num_particles=num_particles)
    return SVI(model, guide, numpyro.optim.Adam(problem.LEARNING_RATE), bound)


def mlp(layers: Layers, h: jax.Array) -> jax.Array:
    """Linear layers with tanh between them: (..., in) -> (..., out)."""
    for weight, bias in layers[:-1]:
        h = jnp.tanh(h @ weight + bias)
    weight, bias = layers[-1]
    return h @ weight + bias
