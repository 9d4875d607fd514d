"""Markov chains of latents, and along temperatures to log Z."""
