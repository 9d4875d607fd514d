"""Flows: a Gaussian bent by invertible transforms, whose density is known."""
