"""A pair's posterior in ArviZ's terms."""
