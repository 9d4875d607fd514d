"""A Laplacian pyramid of generators: a coarse picture, then level by level the detail that it lacks.

    p(z_k) = U(-1, 1)^latent  or  N(0, I),   k = 1..L              z1, z2, ...: (latent,)
    c_1 = G_1(z_1)                                                 the coarsest picture
    c_k = u(c_{k-1}) + r_k,   r_k = P G_k(z_k, u(c_{k-1}))         twice as high and wide
    x   = c_L                                                      a point, not a distribution

    q(z_k) = p(z_k)                                                nothing infers z

u doubles height and width, and P takes off the mean of each square of four pixels, as residuals of data have none
(:mod:`ppgen.layers.pyramids`): the coarse pictures of a draw are those that it was made of. A level is a pair of its
own, of a residual given the picture below it, and ``level_by_level`` trains each by a game of its own on residuals of
data given coarse pictures of data. G_1 is dense, as the paper's coarsest is; the others are transposed convolutions of
z_k and the doubled picture side by side, where the paper has convolutions of both as planes.

Draws are put into [0, 1] at the end, for data of that range.

Reference: Deep Generative Image Models using a Laplacian Pyramid of Adversarial Networks, Denton, Chintala, Szlam and
Fergus, 2015.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Annotated, Any, ClassVar, Literal

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Ge, Len
from pyro.poutine.util import is_validation_enabled
from torch import Tensor, nn

from ppgen.arguments import Count, Sizes
from ppgen.data import DataSpec
from ppgen.errors import UsageError, shown
from ppgen.layers.generators import Generator, Output, Prior, made_prior
from ppgen.layers.networks import Networks
from ppgen.layers.pictures import image_generator
from ppgen.layers.pyramids import assembled, coarse_shapes, doubled, pyramid, residual
from ppgen.pairs.pair import Pair
from ppgen.pairs.running import Batch
from ppgen.pairs.stack import Pyramid
from ppgen.registry import Recommended, register_model

__all__ = ["LAPGAN"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 16, "quantised", image_shape=(4, 4), levels=4, num_data=20)
    return LAPGAN(spec, 3, hidden=(4,), channels=(2,)), (torch.randint(4, (5, 16)) / 3,)


class _Level(Pair):
    """One level as a pair: a datum is its residual and the doubled picture side by side, or the coarsest picture.

    Sites: ``z`` and ``x``, as of ``gan``; of what stands below, x is given, and so is the draw's.
    """

    implicit: ClassVar[bool] = True

    def __init__(
        self, spec: DataSpec, shape: Sequence[int], latent_dim: int, prior: Callable[[Tensor], Any], generator: Any
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.shape, self.latent_dim, self.prior, self.generator = shape, latent_dim, prior, generator

    def model(self, x: Tensor) -> None:
        below = x[:, prod(self.shape) :]  # (B, D), or (B, 0)
        with self.data_plate(x):
            z = pyro.sample("z", self.prior(x.new_zeros(self.latent_dim)).to_event(1))  # (K, B, latent)
            made = torch.cat([self.made(z, below), below.expand(*z.shape[:-1], -1)], -1)
            pyro.sample("x", dist.Delta(made, event_dim=1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", self.prior(x.new_zeros(self.latent_dim)).to_event(1))  # (K, B, latent)

    def made(self, z: Tensor, below: Tensor) -> Tensor:
        """The coarsest picture, or the residual of the picture ``below``: (..., latent) and (..., D) to (..., D)."""
        if not below.shape[-1]:
            return self.generator(z)  # type: ignore[no-any-return]  # torch's modules return Any
        both = torch.cat([z, below.expand(*z.shape[:-1], -1)], -1)
        return residual(self.generator(both), self.shape)


_BETAS = {"betas": (0.5, 0.999)}
_GAMES = (
    {"name": "wasserstein_gp", "options": {"hidden": (256, 256), "critic_steps": 1}},
    {
        "name": "nonsaturating",
        "options": {"critic": "conv", "hidden": (16, 32), "normalisation": "batch", **_BETAS},
    },
)


@register_model(
    "lapgan",
    summary="a pyramid of generators: a coarse picture, then the detail of each level",
    reference="Denton, Chintala, Szlam and Fergus, Deep generative image models using a Laplacian pyramid",
    year=2015,
    link="https://arxiv.org/abs/1506.05751",
    tags=("continuous", "implicit", "images", "stages"),
    tiny=_tiny,
    recommended=Recommended(
        "level_by_level",
        {"games": _GAMES},
        {"steps": 6_000, "batch_size": 64, "lr": 2e-4, "schedule": "constant"},
    ),
)
class LAPGAN(Pyramid):
    """Laplacian pyramid of generators. One batch is ``(x,)``, x of shape (B, C * H * W).

    Sites:
        z1: (latent,), real, in the plate ``data``: of the coarsest picture
        z2: (latent,), real, in the plate ``data``: of the first residual; z3 and so on for further levels
        x: (C * H * W,), observed, a point mass at the picture on top, in the plate ``data``

    Args:
        spec: what one datum is: a picture whose sides are multiples of 2^(levels - 1).
        latent_dim: size of each z.
        levels: L: two make 14 x 14, then 28 x 28.
        hidden: sizes of the hidden layers of the coarsest generator, from z to the picture.
        channels: of the hidden layers of the finest generator, from z to the residual; the one below it has all but the
            last of them, and so on, each of which halves its picture exactly.
        prior: of each z, as of ``dcgan``.
        normalisation: of the generators' hidden layers: ``"batch"`` or ``"none"``.

    Raises:
        UsageError: the data are no pictures or counts, sides are not halved exactly, or there are fewer channels than
            residuals.

    >>> pair = LAPGAN(DataSpec("pictures", 64, "quantised", image_shape=(8, 8), levels=17), 5, channels=(4, 2))
    >>> [part.shape for part in pair.pyramid(torch.rand(7, 64))]
    [torch.Size([7, 16]), torch.Size([7, 64])]
    """

    implicit: ClassVar[bool] = True

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 32,
        *,
        levels: Annotated[int, Ge(2)] = 2,
        hidden: Sizes = (128, 128),
        channels: Annotated[Sizes, Len(1)] = (32, 16),
        prior: Prior = "uniform",
        normalisation: Literal["batch", "none"] = "batch",
    ) -> None:
        super().__init__(data_size=spec.num_data)
        if spec.observation not in ("binary", "quantised", "real"):
            raise UsageError(
                f"LAPGAN makes real numbers, and data {shown(spec.name)} are {spec.in_words}, whose draws have no "
                "gradient: choose a model for them (`ppgen list models`)."
            )
        if spec.image_shape is None:
            raise UsageError(f"LAPGAN makes pictures, and data {shown(spec.name)} have no image_shape: use 'gan'.")
        if len(channels) < levels - 1:
            raise UsageError(
                f"LAPGAN of {levels} levels needs channels for {levels - 1} generators of residuals or more, got "
                f"{len(channels)}: give more channels or fewer levels."
            )
        self.latent_dim, self.prior = latent_dim, made_prior(prior, latent_dim)
        self.shapes = coarse_shapes(spec.image_shape, levels)
        self.in_unit = spec.observation in ("binary", "quantised")
        batch_norm = normalisation == "batch"
        networks = [Networks(self._spec(0, spec), hidden=hidden[::-1], activation="relu", batch_norm=batch_norm)]
        for number, shape in enumerate(self.shapes[1:], 1):
            sizes, like = channels[: len(channels) + number + 1 - levels], torch.zeros(1, latent_dim + prod(shape))
            make = partial(image_generator, shape, sizes, normalisation, like)
            networks.append(Networks(self._spec(number, spec), lambda *_, make=make: make()))
        self.machines = nn.ModuleList(self._level(number, spec, own) for number, own in enumerate(networks))

    def _level(self, number: int, spec: DataSpec, networks: Networks) -> _Level:
        shape = self.shapes[number]
        inputs = self.latent_dim + (prod(shape) if number else 0)
        output: Output = ("tanh" if number else "sigmoid") if self.in_unit else "identity"
        generator = Generator(networks, inputs, output, "LAPGAN")
        return _Level(
            self._spec(number, spec, planes=2 if number else 1), shape, self.latent_dim, self.prior, generator
        )

    def _spec(self, number: int, spec: DataSpec, planes: int = 1) -> DataSpec:
        """What one datum of a level is, or with ``planes`` what its critic is shown."""
        colours, *sides = self.shapes[number]
        shape = (planes * colours, *sides)
        return DataSpec(spec.name, prod(shape), "real", image_shape=shape, num_data=spec.num_data)

    def prepare(self, *batch: Tensor) -> None:
        """Check that the generators can make such data, as Pyro's distributions do: while its validation is on."""
        x = batch[0]
        if self.in_unit and is_validation_enabled() and bool(((x < 0) | (x > 1)).any()):
            raise UsageError(
                f"x holds numbers from {float(x.min()):g} to {float(x.max()):g}, and LAPGAN makes binary and quantised "
                "pictures from 0 to 1: rescale the data, or load them as real."
            )

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            made = self.assembled([self._latent(name, x) for name in self._names])  # (K, B, D)
            pyro.sample("x", dist.Delta(made, event_dim=1), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            for name in self._names:
                self._latent(name, x)

    def assembled(self, latents: Sequence[Tensor]) -> Tensor:
        """x of a z for each level, (..., latent) each: (..., C * H * W)."""
        levels: list[Any] = list(self.machines)
        made: Tensor = levels[0].made(latents[0], latents[0][..., :0])
        for level, z, shape in zip(levels[1:], latents[1:], self.shapes[1:], strict=True):
            below = doubled(made, shape)
            made = below + level.made(z, below)
        return made.clamp(0, 1) if self.in_unit else made

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The coarsest picture of x and its residuals, (B, D_k) each, the finest last."""
        return pyramid(x, self.shapes)

    def shown_to(self, number: int, batch: Batch, *, sample: bool) -> Batch:
        """The residual of level ``number`` and the doubled picture below it, side by side; or the coarsest picture."""
        with torch.no_grad():
            parts = self.pyramid(batch[0])
            if not number:
                return (parts[0],)
            below = assembled(parts[:number], self.shapes[:number])
            return (torch.cat([parts[number], doubled(below, self.shapes[number])], -1),)

    @property
    def _names(self) -> list[str]:
        return [f"z{number + 1}" for number in range(len(self.shapes))]

    def _latent(self, name: str, x: Tensor) -> Tensor:
        z: Tensor = pyro.sample(name, self.prior(x.new_zeros(self.latent_dim)).to_event(1))  # (K, B, latent)
        return z
