"""InfoGAN's generator: codes beside noise, and a network that tells the codes from x.

    p(c) = one of num_categories, each as likely        c: (num_categories,), a one-hot
    p(u) = U(-1, 1)^num_uniform                         u: (num_uniform,)
    p(z) = N(0, s^2 I)                                  z: (noise,)
    x    = G(c, u, z)                                   a point, without a density

    q(c | x) = Categorical(softmax(logits(x)))          (logits, loc, log scale) = network(x)
    q(u | x) = law of 2 sigmoid(n) - 1,  n ~ N(loc(x), diag(scale(x))^2)
    q(z)     = p(z)                                     nothing infers the noise

``infogan`` trains both: codes that q finds again come to stand for what data differ in. The paper's q(u | x) is a
Gaussian, which has mass outside (-1, 1); this one lies where the prior does. Noise that is small beside the one-hot,
s = 0.1, leaves the large differences to the categories (Mukherjee et al. 2019).

Reference: InfoGAN: Interpretable Representation Learning by Information Maximizing Generative Adversarial Nets, Chen,
Duan, Houthooft, Schulman, Sutskever and Abbeel, 2016. The scale: ClusterGAN: Latent Space Clustering in Generative
Adversarial Networks, Mukherjee, Asnani, Lin and Kannan, 2019, section 3.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Ge, Len
from pyro.distributions.transforms import AffineTransform, SigmoidTransform
from torch import Tensor

from ppgen.arguments import Count, Positive, Sizes
from ppgen.data import DataSpec
from ppgen.errors import UsageError
from ppgen.layers.generators import Generator, Output
from ppgen.layers.networks import Activation, Network, Networks
from ppgen.pairs.pair import Pair
from ppgen.registry import Recommended, register_model

__all__ = ["InfoGAN"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 6, "real", num_data=20)
    return InfoGAN(spec, 2, num_categories=3, num_uniform=1, hidden=(4,)), (torch.randn(5, 6),)


@register_model(
    "infogan",
    summary="generator of categorical and uniform codes beside noise, and a network that infers the codes",
    reference="Chen et al., InfoGAN",
    year=2016,
    link="https://arxiv.org/abs/1606.03657",
    tags=("continuous", "discrete", "implicit"),
    tiny=_tiny,
    recommended=Recommended("infogan", training={"steps": 10_000, "batch_size": 128}),
)
class InfoGAN(Pair):
    """InfoGAN's generator and its Q. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        c: (num_categories,), one-hot, in the plate ``data``; not there without categories
        u: (num_uniform,), in (-1, 1), in the plate ``data``; not there without uniform codes
        z: (noise,), real, in the plate ``data``
        x: (D,), observed, a point mass at G(c, u, z), in the plate ``data``

    Args:
        spec: what one datum is: its size, its kind, and the mean of the training data, at which the output starts.
        noise: size of z.
        noise_scale: s.
        num_categories: of the categorical code; 0: there is none.
        num_uniform: how many uniform codes.
        hidden: sizes of the generator's hidden layers, from latents to x; the guide's network has them in reverse.
        output: the generator's last function, as of ``gan``.
        activation: a name in ``ppgen.layers.networks.ACTIVATIONS``, or what makes one: ``torch.nn.ReLU``.
        network: ``"mlp"``, or ``"conv"`` for data with an image shape; or what makes a network of the sizes of its
            input and its output.
        channels: channels of the convolutions of ``"conv"``, from latents to x.
        batch_norm: normalise the generator's hidden layers over the batch.
        guide_batch_norm: and those of the guide's network; ``"conv"`` but the first.

    Raises:
        UsageError: there are no codes, a single category, a size is not positive, a name is unknown, or the data are
            counts.

    >>> pair = InfoGAN(DataSpec("ring", 2, "real"), num_categories=8, hidden=(16,))
    >>> pair.category_probs(torch.zeros(5, 2)).shape
    torch.Size([5, 8])
    """

    implicit: ClassVar[bool] = True

    def __init__(
        self,
        spec: DataSpec,
        noise: Count = 62,
        *,
        noise_scale: Positive = 1.0,
        num_categories: Annotated[int, Ge(0)] = 10,
        num_uniform: Annotated[int, Ge(0)] = 2,
        hidden: Sizes = (256, 256),
        output: Output | None = None,
        activation: Activation = "relu",
        network: Network = "mlp",
        channels: Annotated[Sizes, Len(1)] = (64, 32),
        batch_norm: bool = False,
        guide_batch_norm: bool = False,
    ) -> None:
        super().__init__(data_size=spec.num_data)
        if num_categories == 1 or num_categories + num_uniform == 0:
            raise UsageError(
                f"InfoGAN has codes to infer, and got num_categories={num_categories} and num_uniform={num_uniform}: "
                "give two categories or more, or a uniform code; without codes choose 'gan'."
            )
        self.noise, self.noise_scale = noise, noise_scale
        self.num_categories, self.num_uniform = num_categories, num_uniform
        networks = Networks(spec, network, hidden[::-1], channels[::-1], activation, batch_norm)
        self.generator = Generator(networks, num_categories + num_uniform + noise, output, "InfoGAN")
        self.encoder = networks.encoder(num_categories + 2 * num_uniform, batch_norm=guide_batch_norm)

    def prepare(self, *batch: Tensor) -> None:
        """Check that the generator can make such data."""
        self.generator.check(batch[0])

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            codes = []
            if self.num_categories:
                uniform = dist.OneHotCategorical(logits=x.new_zeros(self.num_categories))
                codes.append(pyro.sample("c", uniform))  # (K, B, num_categories)
            if self.num_uniform:
                low = x.new_full((self.num_uniform,), -1.0)
                codes.append(pyro.sample("u", dist.Uniform(low, -low).to_event(1)))  # (K, B, num_uniform)
            latents = torch.cat([*codes, self._noise(x)], -1)  # (K, B, codes + noise)
            pyro.sample("x", dist.Delta(self.generator(latents), event_dim=1), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        logits, loc, log_scale = self._told(x)
        with self.data_plate(x):
            if self.num_categories:
                pyro.sample("c", dist.OneHotCategorical(logits=logits))  # (K, B, num_categories)
            if self.num_uniform:
                squashed = [SigmoidTransform(), AffineTransform(-1.0, 2.0)]
                normal = dist.Normal(loc, log_scale.exp())
                pyro.sample("u", dist.TransformedDistribution(normal, squashed).to_event(1))  # (K, B, num_uniform)
            self._noise(x)

    def category_probs(self, x: Tensor) -> Tensor:
        """q(c | x), (..., D) -> (..., num_categories): which category made x."""
        probs: Tensor = self._told(x)[0].softmax(-1)
        return probs

    def uniform_medians(self, x: Tensor) -> Tensor:
        """The median of q(u | x), (..., D) -> (..., num_uniform)."""
        median: Tensor = 2 * self._told(x)[1].sigmoid() - 1
        return median

    def _told(self, x: Tensor) -> Any:
        """Logits of c, and loc and log-scale of n: (..., num_categories), and (..., num_uniform) each."""
        return self.encoder(x).split([self.num_categories, self.num_uniform, self.num_uniform], -1)

    def _noise(self, x: Tensor) -> Tensor:
        z: Tensor = pyro.sample("z", dist.Normal(x.new_zeros(self.noise), self.noise_scale).to_event(1))
        return z  # (K, B, noise)
