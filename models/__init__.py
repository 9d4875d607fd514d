"""The collection of model/guide pairs, one file a model."""

if __name__ != "ppgen.models":
    raise ImportError(f"expected the import name 'ppgen.models', got {__name__!r}: use 'import ppgen.models'.")

from ppgen.models.autoencoders.autoencoder import Autoencoder
from ppgen.models.autoencoders.cvae import CVAE
from ppgen.models.autoencoders.deep_autoencoder import DeepAutoencoder
from ppgen.models.autoencoders.discrete_vae import DiscreteVAE
from ppgen.models.autoencoders.gmvae import GMVAE
from ppgen.models.autoencoders.iwae import IWAE
from ppgen.models.autoencoders.ss_vae import SSVAE
from ppgen.models.autoencoders.vade import VaDE
from ppgen.models.autoencoders.vae import VAE
from ppgen.models.autoencoders.vq_vae import VQVAE
from ppgen.models.autoregressive.fvbn import FVBN
from ppgen.models.autoregressive.made import MADE
from ppgen.models.autoregressive.nade import NADE
from ppgen.models.autoregressive.pixelcnn import PixelCNN
from ppgen.models.autoregressive.pixelrnn import PixelRNN
from ppgen.models.autoregressive.rnade import RNADE
from ppgen.models.belief_networks.sbn import SBN
from ppgen.models.belief_networks.structured_prediction import StructuredPrediction
from ppgen.models.classifiers.classifier import Classifier
from ppgen.models.energy.boltzmann import Boltzmann
from ppgen.models.energy.conv_dbn import ConvDBN
from ppgen.models.energy.conv_rbm import ConvRBM
from ppgen.models.energy.dbm import DBM
from ppgen.models.energy.dbn import DBN
from ppgen.models.energy.hopfield import Hopfield
from ppgen.models.energy.neural_energy import NeuralEnergy
from ppgen.models.energy.rbm import RBM
from ppgen.models.flows.glow import Glow
from ppgen.models.flows.maf import MAF
from ppgen.models.flows.neural_spline import NeuralSpline
from ppgen.models.flows.realnvp import RealNVP
from ppgen.models.implicit.began import BEGAN
from ppgen.models.implicit.bigan import BiGAN
from ppgen.models.implicit.cgan import CGAN
from ppgen.models.implicit.cyclegan import CycleGAN
from ppgen.models.implicit.dcgan import DCGAN
from ppgen.models.implicit.gan import GAN
from ppgen.models.implicit.gmmn import GMMN
from ppgen.models.implicit.gmmn_codes import GMMNCodes
from ppgen.models.implicit.implicit_vae import ImplicitVAE
from ppgen.models.implicit.infogan import InfoGAN
from ppgen.models.implicit.lapgan import LAPGAN
from ppgen.models.implicit.pix2pix import Pix2Pix
from ppgen.models.linear.factor_analysis import FactorAnalysis
from ppgen.models.linear.ica import ICA
from ppgen.models.linear.linear_gaussian import LinearGaussian
from ppgen.models.linear.nmf import NMF
from ppgen.models.linear.noisy_ica import NoisyICA
from ppgen.models.linear.predictive_sparse_decomposition import PSD
from ppgen.models.linear.sparse_coding import SparseCoding
from ppgen.models.mixtures.bayes_net import BayesNet
from ppgen.models.mixtures.dp_mixture import DPMixture
from ppgen.models.mixtures.gmm import GMM
from ppgen.models.mixtures.kmeans import KMeans
from ppgen.models.mixtures.mixture_of_experts import MixtureOfExperts
from ppgen.models.mixtures.naive_bayes import NaiveBayes
from ppgen.models.topics.ctm import CTM
from ppgen.models.topics.lda import LDA
from ppgen.models.topics.markov import Markov
from ppgen.models.topics.nvdm import NVDM
from ppgen.models.topics.plsa import PLSA
from ppgen.models.topics.prodlda import ProdLDA
from ppgen.models.topics.unigram import Unigram

__all__ = [
    "BEGAN",
    "CGAN",
    "CTM",
    "CVAE",
    "DBM",
    "DBN",
    "DCGAN",
    "FVBN",
    "GAN",
    "GMM",
    "GMMN",
    "GMVAE",
    "ICA",
    "IWAE",
    "LAPGAN",
    "LDA",
    "MADE",
    "MAF",
    "NADE",
    "NMF",
    "NVDM",
    "PLSA",
    "PSD",
    "RBM",
    "RNADE",
    "SBN",
    "SSVAE",
    "VAE",
    "VQVAE",
    "Autoencoder",
    "BayesNet",
    "BiGAN",
    "Boltzmann",
    "Classifier",
    "ConvDBN",
    "ConvRBM",
    "CycleGAN",
    "DPMixture",
    "DeepAutoencoder",
    "DiscreteVAE",
    "FactorAnalysis",
    "GMMNCodes",
    "Glow",
    "Hopfield",
    "ImplicitVAE",
    "InfoGAN",
    "KMeans",
    "LinearGaussian",
    "Markov",
    "MixtureOfExperts",
    "NaiveBayes",
    "NeuralEnergy",
    "NeuralSpline",
    "NoisyICA",
    "Pix2Pix",
    "PixelCNN",
    "PixelRNN",
    "ProdLDA",
    "RealNVP",
    "SparseCoding",
    "StructuredPrediction",
    "Unigram",
    "VaDE",
]
