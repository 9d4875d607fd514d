"""Markov chains: of x, of latents, and along temperatures to log Z."""
