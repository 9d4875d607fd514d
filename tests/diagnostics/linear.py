"""Linear-Gaussian pairs in double precision, with data of their own, whose every diagnosis has a closed form."""

import torch
from torch import Tensor

from ppgen.data import Dataset, DataSpec
from ppgen.models import LinearGaussian

__all__ = ["data_of", "exact", "scaled"]


def exact(weight: Tensor, noise: float = 1.0) -> LinearGaussian:
    """A pair of that W, (D, latent), c = 0 and s = ``noise``, in float64, whose guide is the posterior."""
    features, latent = weight.shape
    pair = LinearGaussian(DataSpec("own", features, "real"), latent, noise=noise).double()
    with torch.no_grad():
        pair.weight.copy_(weight)
    pair.set_exact_guide()
    return pair


def scaled(pair: LinearGaussian, c: float) -> LinearGaussian:
    """The same with the guide's standard deviations times ``c``."""
    with torch.no_grad():
        scale = pair.guide_scale.tril(-1) + pair.guide_scale.diagonal().exp().diag()
        pair.guide_scale.copy_(c * scale.tril(-1) + (c * scale.diagonal()).log().diag())
    return pair


def data_of(pair: LinearGaussian, num: int, seed: int = 12345) -> Dataset:
    """``num`` data of the model itself, as all three splits; of another seed than the diagnosis, or noise is shared."""
    generator = torch.Generator().manual_seed(seed)
    features, latent = pair.weight.shape
    z, noise = (torch.randn(num, size, generator=generator, dtype=torch.float64) for size in (latent, features))
    x = (z @ pair.weight.T + pair.log_noise.exp() * noise).detach()
    return Dataset(DataSpec("own", features, "real"), (x,), (x,), (x,))
