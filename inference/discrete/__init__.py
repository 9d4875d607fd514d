"""Gradients through discrete latents."""
