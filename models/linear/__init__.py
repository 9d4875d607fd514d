"""Linear maps of Gaussian latents."""
