"""Likelihood gradients with a negative phase."""
