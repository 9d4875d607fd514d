"""The collection of model/guide pairs, one file a model."""

if __name__ != "ppgen.models":
    raise ImportError(f"expected the import name 'ppgen.models', got {__name__!r}: use 'import ppgen.models'.")

from ppgen.models.cvae import CVAE
from ppgen.models.discrete_vae import DiscreteVAE
from ppgen.models.gan import GAN
from ppgen.models.gmm import GMM
from ppgen.models.iwae import IWAE
from ppgen.models.lda import LDA
from ppgen.models.linear_gaussian import LinearGaussian
from ppgen.models.prodlda import ProdLDA
from ppgen.models.rbm import RBM
from ppgen.models.sbn import SBN
from ppgen.models.ss_vae import SSVAE
from ppgen.models.structured_prediction import StructuredPrediction
from ppgen.models.vae import VAE

__all__ = [
    "CVAE",
    "GAN",
    "GMM",
    "IWAE",
    "LDA",
    "RBM",
    "SBN",
    "SSVAE",
    "VAE",
    "DiscreteVAE",
    "LinearGaussian",
    "ProdLDA",
    "StructuredPrediction",
]
