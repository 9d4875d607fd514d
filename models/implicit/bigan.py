"""BiGAN, or adversarially learned inference: a generator and its inverse, an encoder.

    p(z) = N(0, I)                                      z: (latent,)
    x    = G(z)             or G(z, y) with labels      a point, without a density

    q(z | x) = N(loc(x), diag(scale(x))^2)              (loc, log scale) = network(x), with labels + W one_hot(y)
               or a point, loc(x)

``ali`` trains both: it matches data with inferred latents to draws with their own. At the optimum q is the posterior;
of a generator without noise that is a point for every x that it makes, and loc the generator's inverse: G(loc(x)) = x,
a reconstruction that no loss of pixels was asked for. With labels z holds what they leave open, and G(loc(x, y), other)
is x with another label (Perarnau et al.).

Reference: Adversarial Feature Learning, Donahue, Kraehenbuehl and Darrell, 2017; Adversarially Learned Inference,
Dumoulin et al., 2017. Labels: Invertible Conditional GANs for Image Editing, Perarnau, van de Weijer, Raducanu and
Alvarez, 2016, whose encoder is trained after the generator, and not beside it.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Len
from torch import Tensor, nn

from ppgen.arguments import Count, Sizes
from ppgen.data import DataSpec
from ppgen.layers.generators import Generator, Output
from ppgen.layers.labels import beside_label, check_told, classes_of, one_hot
from ppgen.layers.networks import Activation, Network, Networks
from ppgen.pairs.pair import Pair
from ppgen.pairs.running import Batch
from ppgen.pairs.sampling import Draws
from ppgen.registry import Recommended, register_model

__all__ = ["BiGAN"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    return BiGAN(DataSpec("tiny", 6, "real", num_data=20), 3, hidden=(4,)), (torch.randn(5, 6),)


@register_model(
    "bigan",
    summary="a generator with its inverse: an encoder, whose reconstructions are the generator's",
    reference="Donahue, Kraehenbuehl and Darrell, Adversarial feature learning",
    year=2017,
    link="https://arxiv.org/abs/1605.09782",
    tags=("continuous", "implicit", "amortised"),
    tiny=_tiny,
    recommended=Recommended("ali", training={"steps": 20_000, "batch_size": 128}),
)
class BiGAN(Pair):
    """Bidirectional GAN. One batch is ``(x,)``, x of shape (B, D), or with labels ``(x, y)``, y (B,).

    Sites:
        z: (latent,), real, in the plate ``data``
        x: (D,), observed, a point mass at G(z), in the plate ``data``

    Args:
        spec: what one datum is: its size, its kind, and the mean of the training data, at which the output starts.
        latent_dim: size of z.
        hidden: sizes of the generator's hidden layers, from z to x; the encoder has them in reverse.
        posterior: ``"normal"``, or ``"point"``: an encoder without noise.
        labels: whether generator and encoder are given the label, of data loaded with ``labels=True``.
        output: the generator's last function, as of ``gan``.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        network: ``"mlp"``, or ``"conv"`` for data with an image shape; or what makes a network of the sizes of its
            input and its output.
        channels: channels of the generator's convolutions of ``"conv"``, from z to x.
        batch_norm: normalise the generator's hidden layers over the batch.

    Raises:
        UsageError: a size is not positive, a name is unknown, the data are counts, or have no labels.

    >>> pair = BiGAN(DataSpec("pictures", 64, "binary", image_shape=(8, 8)), latent_dim=2, hidden=(16,))
    >>> x = torch.rand(5, 64).round()
    >>> pair.encode(x).shape, pair.reconstruct(x).shape
    (torch.Size([5, 2]), torch.Size([5, 64]))
    """

    implicit: ClassVar[bool] = True

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: Count = 32,
        *,
        hidden: Sizes = (256, 256),
        posterior: Literal["normal", "point"] = "normal",
        labels: bool = False,
        output: Output | None = None,
        activation: Activation = "relu",
        network: Network = "mlp",
        channels: Annotated[Sizes, Len(1)] = (64, 32),
        batch_norm: bool = False,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.latent_dim, self.is_point = latent_dim, posterior == "point"
        self.num_classes = classes_of(spec, "BiGAN with labels") if labels else 0
        networks = Networks(spec, network, hidden[::-1], channels[::-1], activation, batch_norm)
        self.generator = Generator(networks, latent_dim + self.num_classes, output, "BiGAN")
        outputs = latent_dim if self.is_point else 2 * latent_dim
        self.encoder = networks.encoder(outputs)
        self.label_effect = nn.Parameter(torch.zeros(self.num_classes, outputs)) if labels else None

    def prepare(self, *batch: Tensor) -> None:
        """Check that the generator can make such data, and their labels."""
        self.generator.check(batch[0])
        if self.num_classes:
            check_told(batch, self.num_classes, "BiGAN with labels")

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.latent_dim), 1.0).to_event(1))  # (K, B, latent)
            pyro.sample("x", dist.Delta(self.decode(z, y), event_dim=1), obs=x)  # (B, D)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        loc, *log_scale = self._told(x, y)
        with self.data_plate(x):
            inferred: Any = dist.Delta(loc) if self.is_point else dist.Normal(loc, log_scale[0].exp())
            pyro.sample("z", inferred.to_event(1))  # (K, B, latent)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The mean of q(z | x), (B, D) to (B, latent)."""
        return self._told(x, y)[0]

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """G(z), or G(z, y) of a pair with labels: (..., B, latent) to (..., B, D)."""
        label: Any = y
        made: Tensor = self.generator(beside_label(z, label, self.num_classes) if self.num_classes else z)
        return made

    def reconstruct(self, x: Tensor, y: Tensor | None = None, other: Tensor | None = None) -> Tensor:
        """x made again, G(loc(x)), (B, D); of a pair with labels at another label of each datum, where one is given."""
        return self.decode(self.encode(x, y), y if other is None else other)

    def remake_data(self, batch: Batch) -> Draws:
        """Every datum of ``batch`` made again from the mean of its latents."""
        again = self.reconstruct(*batch[: 2 if self.num_classes else 1])
        how = "G(z) at the mean z of the guide"
        return Draws(again, again, how, how)

    def _told(self, x: Tensor, y: Any) -> tuple[Tensor, ...]:
        """loc, and of a normal the log-scale, (B, latent) each."""
        outputs: Tensor = self.encoder(x)
        if self.label_effect is not None:
            outputs = outputs + one_hot(y, self.num_classes, x) @ self.label_effect
        return (outputs,) if self.is_point else outputs.tensor_split(2, -1)
