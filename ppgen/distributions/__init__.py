"""Distributions that Pyro and torch lack."""

from ppgen.distributions import supports as supports  # registers bijections
from ppgen.distributions.autoregressive_bernoulli import AutoregressiveBernoulli
from ppgen.distributions.bag_of_words import BagOfWords, draw_counts
from ppgen.distributions.completion import Completion
from ppgen.distributions.discretized_logistic import DiscretizedLogistic
from ppgen.distributions.log_dirichlet import LogDirichlet

__all__ = ["AutoregressiveBernoulli", "BagOfWords", "Completion", "DiscretizedLogistic", "LogDirichlet", "draw_counts"]
