"""Networks, and the layers that end in a distribution."""
