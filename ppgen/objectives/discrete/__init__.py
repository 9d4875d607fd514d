"""What gradient estimators for discrete latents share."""
