"""A critic against the generator."""
