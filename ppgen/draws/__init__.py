"""What a pair makes: samples, reconstructions, walks along its latents."""

from ppgen.draws.embedding import Embedding, embedding
from ppgen.draws.inferred import Posterior, infer
from ppgen.draws.paths import Interpolation, Traversal, has_paths, interpolation, latent_traversal
from ppgen.draws.samples import Draws, conditions, has_walk, prior_latents, prior_samples, reconstructions

__all__ = [
    "Draws",
    "Embedding",
    "Interpolation",
    "Posterior",
    "Traversal",
    "conditions",
    "embedding",
    "has_paths",
    "has_walk",
    "infer",
    "interpolation",
    "latent_traversal",
    "prior_latents",
    "prior_samples",
    "reconstructions",
]
