"""What a pair makes: samples, reconstructions, walks along its latents."""

from ppgen.draws.paths import Interpolation, Traversal, has_paths, interpolation, latent_traversal
from ppgen.draws.samples import Draws, conditions, has_walk, prior_latents, prior_samples, reconstructions

__all__ = [
    "Draws",
    "Interpolation",
    "Traversal",
    "conditions",
    "has_paths",
    "has_walk",
    "interpolation",
    "latent_traversal",
    "prior_latents",
    "prior_samples",
    "reconstructions",
]
