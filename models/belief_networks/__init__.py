"""Layers of binary latents."""
