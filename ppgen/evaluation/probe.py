"""The linear probe: how well a linear map of the features tells the class.

    p(y | f) = softmax(A s(f) + a),        A, a = argmax sum_i log p(y_i | f_i) - |A|^2 / 2

over training data, s: each feature less its mean and over its standard deviation in training (logistic regression as
scikit-learn has it). The number is the share of data held out whose most probable class is not their label. It says
what is linearly at hand in the features, and nothing of the pair as a density.

Understanding intermediate layers using linear classifier probes. Alain and Bengio, 2016.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.evaluation.features import LabelledFeatures
from ppgen.evaluation.likelihood import mean_and_error
from ppgen.evaluation.result import Measure

__all__ = ["STEPS", "Probe", "linear_probe", "probes"]

STEPS = 200
"""Of L-BFGS, at most."""


@dataclass(frozen=True, eq=False)
class Probe:
    """Whether each datum held out is taken for another class than its own, (n,), float64; the steps that were taken.

    >>> import ppgen
    >>> x = torch.linspace(-1, 1, 40)[:, None]
    >>> found = ppgen.evaluation.linear_probe(x, (x[:, 0] > 0).long(), x[:1], torch.tensor([0]))
    >>> type(found).__name__, found.converged
    ('Probe', True)
    """

    wrong: Tensor
    steps: int

    @property
    def converged(self) -> bool:
        """Whether the steps sufficed."""
        return self.steps < STEPS


def linear_probe(train: Tensor, train_labels: Tensor, held_out: Tensor, held_out_labels: Tensor) -> Probe:
    """Fit on (N, F) with labels (N,) of at least two classes, judged on (n, F) with labels (n,).

    >>> x = torch.linspace(-1, 1, 40)[:, None]
    >>> linear_probe(x, (x[:, 0] > 0).long(), torch.tensor([[-0.5], [0.5]]), torch.tensor([0, 0])).wrong
    tensor([0., 1.], dtype=torch.float64)
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scale, classifier = StandardScaler(), LogisticRegression(max_iter=STEPS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(scale.fit_transform(train.numpy()), train_labels.numpy())
    found = torch.from_numpy(classifier.predict(scale.transform(held_out.numpy())))
    return Probe(found.ne(held_out_labels).double(), int(classifier.n_iter_.max()))


def probes(features: LabelledFeatures, split: str) -> Iterator[Measure]:
    """``probe_error``, where the training data have at least two classes and two data are held out."""
    if len(features.train_labels.unique()) < 2 or len(features.held_out) < 2:
        return
    found = linear_probe(features.train, features.train_labels, features.held_out, features.held_out_labels)
    stopped = "" if found.converged else f", stopped after {STEPS} steps"
    yield Measure(
        "probe_error",
        *mean_and_error(found.wrong),
        f"share of {len(found.wrong):,} {split} data whose label is missed by a logistic regression on their "
        f"{features.train.shape[1]:,} features, fit on {len(features.train):,} training data{stopped}; 0 is none",
    )
