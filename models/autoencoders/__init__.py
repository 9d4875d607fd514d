"""Continuous latents behind networks."""
