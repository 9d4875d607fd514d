"""Deep generative models as Pyro model/guide pairs, the objectives that train them, and honest evaluation."""

__version__ = "0.1.0"
