"""Latents that chains move on from the guide's draws."""
