"""Which peers meet, at which sizes: one contest a family of pairs. Names only: each peer is imported where it runs."""

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["CONTESTS", "ESTIMATORS", "SLOPES", "Case", "Contest", "Slope"]


class Case(NamedTuple):
    """One batch size and number of particles on one device."""

    batch_size: int
    num_particles: int
    device: str = "cpu"


@dataclass(frozen=True)
class Contest:
    """What is measured.

    Args:
        title: for the page: the pair, the objective and the sizes.
        peers: ``module:function`` by the peer's name; ours is the first.
        sizes: (batch size, particles) of each case.
        whole: whether peers are started again with a full cache, and ours is profiled.
    """

    title: str
    peers: dict[str, str]
    sizes: tuple[tuple[int, int], ...]
    whole: bool = True


def _peers(module: str, *names: str, prefix: str = "") -> dict[str, str]:
    return {name: f"peers.{module}:{prefix}{name}" for name in names}


_VAE = {
    "ours": "peers.ours:make_step",
    "eager": "peers.ours:make_eager",
    "handwritten": "peers.handwritten:make_step",
    "handwritten_compiled": "peers.handwritten_compiled:make_step",
    "stock_pyro": "peers.stock_pyro:make_step",
    "numpyro_jit": "peers.numpyro_jit:make_step",
    "numpyro_scan": "peers.numpyro_jit:make_scan",
}

_BY_HAND = ("ours", "eager", "handwritten", "handwritten_compiled")


def _estimator(title: str, module: str, name: str, size: tuple[int, int]) -> Contest:
    """Of an estimator: its steps alone."""
    return Contest(title, _peers(module, *_BY_HAND, prefix=f"{name}."), (size,), whole=False)


ESTIMATORS: dict[str, tuple[str, str, tuple[int, int]]] = {
    "reinmax": ("VAE of 20 units of 8 classes, ReinMax", "categorical_units", (100, 1)),
    "gumbel_rao": ("VAE of 20 units of 8 classes, Gumbel-Rao with ten inner draws", "categorical_units", (100, 1)),
    "disarm_tree": ("VAE of 20 units of 8 classes, DisARM-Tree", "categorical_units", (100, 1)),
    "double_cv": ("SBN 784-200, double control variates", "binary_units", (100, 2)),
    "ovis": ("SBN 784-200, OVIS with five auxiliary particles", "binary_units", (100, 5)),
    "local_expectation": ("VAE of 20 binary units, local expectations", "binary_units", (20, 1)),
    "jvi": ("VAE 784-200-200-50, the jackknife of order 1", "weighted_paths", (100, 8)),
    "gdreg": ("IWAE of two layers, 100 and 50, generalised double reparameterization", "weighted_paths", (20, 8)),
    "dais": ("VAE 784-200-200-50, annealed importance sampling through four bridges", "chains", (100, 1)),
    "sivi": ("VAE 784-200-200-50 with a semi-implicit guide, ten extra draws of noise", "weighted_paths", (100, 1)),
    "gapped_straight_through": ("VAE of 20 units of 8 classes, gapped straight-through", "categorical_units", (100, 1)),
    "reinmax_rao": ("VAE of 20 units of 8 classes, ReinMax over ten conditional draws", "categorical_units", (100, 1)),
    "reinmax_cv": ("VAE of 20 units of 8 classes, ReinMax with control variates", "categorical_units", (100, 1)),
    "rodeo": ("SBN 784-200, RODEO, its controls learnt", "binary_units", (100, 2)),
    "unordered_set": ("VAE of 20 binary units, four states without replacement", "binary_units", (100, 4)),
    "f_divergence": ("VAE 784-200-200-50, forward KL", "weighted_paths", (100, 8)),
    "vr_max": ("VAE 784-200-200-50, the largest of the weights", "weighted_paths", (100, 8)),
    "cubo": ("VAE 784-200-200-50, the chi upper bound", "weighted_paths", (100, 8)),
    "sumo": ("VAE 784-200-200-50, SUMO of two particles and five terms, not compiled", "weighted_paths", (100, 2)),
    "hamiltonian_elbo": ("VAE 784-200-200-50, a Hamiltonian path of four leapfrogs", "chains", (100, 1)),
    "langevin_vae": ("VAE 784-200-200-50, four Langevin steps", "chains", (100, 1)),
    "markovian_score_climbing": ("VAE 784-200-200-50, a chain of each of 200 data", "chains", (200, 10)),
}
"""Estimators beside themselves by hand: title, file and size by name."""


CONTESTS = {
    "vae": Contest(
        "VAE 784-200-200-50, ELBO (K = 1) or IWELBO", _VAE, ((20, 1), (100, 1), (512, 1), (20, 50), (100, 50))
    ),
    "sbn_vimco": Contest("SBN 784-200-200, VIMCO", _peers("sbn", *_BY_HAND, prefix="vimco_"), ((24, 5),)),
    "sbn_reinforce": Contest(
        "SBN 784-200-200, REINFORCE with leave-one-out baselines",
        _peers("sbn", *_BY_HAND, "stock_pyro", prefix="reinforce_"),
        ((24, 5),),
    ),
    "rbm": Contest("RBM 784-500, PCD, one sweep a step", _peers("rbm", *_BY_HAND, "scikit_learn"), ((100, 1),)),
    "dbm": Contest(
        "DBM 784-500-1000, mean field of five rounds and PCD, one sweep a step", _peers("dbm", *_BY_HAND), ((100, 1),)
    ),
    "gan": Contest("GAN 32-256-256-784, non-saturating, a step of each player", _peers("gan", *_BY_HAND), ((100, 1),)),
    "gan_gp": Contest(
        "GAN 32-256-256-784, Wasserstein with a penalty on slopes, five steps of the critic and one of the generator",
        _peers("gan", "ours", "eager", "handwritten", prefix="gp_"),
        ((100, 1),),
    ),
    "gmmn": Contest("GMMN 10-64-256-256-1024-784, MMD of six kernels", _peers("gmmn", *_BY_HAND), ((500, 1),)),
    "linear_gaussian": Contest(
        "Probabilistic PCA 784 to 20, ELBO", _peers("linear_gaussian", *_BY_HAND, "stock_pyro"), ((100, 1),)
    ),
    "made": Contest(
        "MADE 784-500-784, maximum likelihood", _peers("autoregressive", *_BY_HAND, prefix="made_"), ((100, 1),)
    ),
    "nade_draws": Contest(
        "Draws of a NADE 784-500, so many at once",
        _peers("autoregressive", "ours", "handwritten", prefix="nade_draws_"),
        ((100, 1),),
    ),
    "vae_iaf": Contest(
        "VAE 784-200-200-40 with a guide of two inverse autoregressive flows, ELBO",
        _peers("flow_guide", *_BY_HAND),
        ((100, 1),),
    ),
    **{name: _estimator(title, module, name, size) for name, (title, module, size) in ESTIMATORS.items()},
    "lda": Contest(
        "LDA with 50 topics, 200 documents a step",
        _peers("lda", "ours", "eager", "stock_pyro", "scikit_learn", "tomotopy"),
        ((200, 1),),
    ),
}
"""The contests by name. To add one: a file in `peers/` with its functions, and a line here."""


@dataclass(frozen=True)
class Slope:
    """How our step's time grows with one size of the VAE, the other held fixed."""

    title: str
    sizes: tuple[tuple[int, int], ...]
    axis: int

    @property
    def along(self) -> list[int]:
        """The size that grows."""
        return [size[self.axis] for size in self.sizes]


SLOPES = {
    "batch": Slope("batch size, K = 1", ((20, 1), (64, 1), (256, 1), (1024, 1), (4096, 1)), 0),
    "particles": Slope("particles, batch 20", ((20, 1), (20, 8), (20, 64), (20, 512)), 1),
}
