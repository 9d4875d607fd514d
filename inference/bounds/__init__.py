"""Bounds on log p(x), their gradients pathwise or exact."""
