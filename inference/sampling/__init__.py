"""Markov chains over the latents of all the data."""
