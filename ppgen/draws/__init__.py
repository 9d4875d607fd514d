"""What a pair makes: samples, reconstructions, walks along its latents."""

from ppgen.draws.arithmetic import Arithmetic, latent_arithmetic
from ppgen.draws.codes import CodeTraversal, code_traversal
from ppgen.draws.completions import completions, upper_half
from ppgen.draws.embedding import Embedding, embedding
from ppgen.draws.inferred import Posterior, infer
from ppgen.draws.manifold import LatentManifold, has_manifold, latent_manifold
from ppgen.draws.paths import Interpolation, Traversal, has_paths, interpolation, latent_traversal
from ppgen.draws.samples import Draws, conditions, has_walk, prior_latents, prior_samples, reconstructions

__all__ = [
    "Arithmetic",
    "CodeTraversal",
    "Draws",
    "Embedding",
    "Interpolation",
    "LatentManifold",
    "Posterior",
    "Traversal",
    "code_traversal",
    "completions",
    "conditions",
    "embedding",
    "has_manifold",
    "has_paths",
    "has_walk",
    "infer",
    "interpolation",
    "latent_arithmetic",
    "latent_manifold",
    "latent_traversal",
    "prior_latents",
    "prior_samples",
    "reconstructions",
    "upper_half",
]
