"""A guide that learns from dreams or from weighted draws."""
