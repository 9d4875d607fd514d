"""Naive Bayes: features that are independent given a class, which is known, or known of some data, or of none.

    p(y)     = Categorical(w)                       y in 0..C-1; w: (C,)
    p(x | y) = prod_d Bernoulli(theta_yd)           binary data
               Multinomial(n, theta_y)              counts of n words
               prod_d Categorical(theta_yd)         quantised data: every level a category of its own
               prod_d N(m_yd, s_yd^2)               real data
               Categorical(theta_y)                 a category, as a one-hot
               the product of these over columns    mixed data

    p(y | x) proportional to w_y p(x | y)           the classifier

A datum with a label l has the density p(x, l) = w_l p(x | l), one without it p(x), the sum over y, which is exact.
With all labels known the maximum is in closed form, sums over data of each class (:meth:`NaiveBayes.set_closed_form`),
where training starts and ``em`` stays. With some, training starts at the maximum for the labelled data, and ``em`` adds
the others by p(y | x). With none y is a cluster, and this a mixture.

``smoothing`` a and ``var_smoothing`` e are those of scikit-learn (:mod:`ppgen.distributions.independent`). With a > 0
each M step maximises the likelihood times prod theta^a: that product is what ``em`` never lowers.

Reference: On the optimality of the simple Bayesian classifier under zero-one loss, Domingos and Pazzani, 1997. With
some labels: Text classification from labeled and unlabeled documents using EM, Nigam, McCallum, Thrun and Mitchell,
2000, section 5.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppgen.arguments import Count, NonNegative, at_most_data
from ppgen.data import DataSpec
from ppgen.data.validate import UNKNOWN_LABEL
from ppgen.distributions.components import Chosen, Components
from ppgen.distributions.independent import Categoricals, Multinomials, SmoothedBernoullis, SmoothedGaussians
from ppgen.distributions.labels import PossiblyKnown
from ppgen.distributions.place import Place, put_together
from ppgen.distributions.side_by_side import MixedComponents, Part
from ppgen.errors import UsageError, setting, shown
from ppgen.layers.labels import one_hot
from ppgen.pairs.pair import Pair
from ppgen.pairs.starting import DataStart, Start
from ppgen.registry import Recommended, register_model

__all__ = ["NaiveBayes"]

_NEVER = -1e30
"""The logarithm of a probability that is zero, and finite: the states of weight zero have numbers."""


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data, two of them without a label."""
    mean = torch.full((4,), 0.5)
    spec = DataSpec("tiny", 4, "binary", num_classes=2, num_data=20, num_labelled=12, mean=mean)
    return NaiveBayes(spec), (torch.rand(5, 4).round(), torch.tensor([0, UNKNOWN_LABEL, 1, 1, UNKNOWN_LABEL]))


@register_model(
    "naive_bayes",
    summary="naive Bayes: features independent given a class that is known, partly known, or summed out",
    reference="Domingos and Pazzani, On the optimality of the simple Bayesian classifier under zero-one loss",
    year=1997,
    link="https://doi.org/10.1023/A:1007413511361",
    tags=("discrete", "mixture", "exact", "semi-supervised"),
    tiny=_tiny,
    recommended=Recommended("em", training={"steps": 50, "batch_size": 1_000_000}),
)
class NaiveBayes(Pair):
    """Naive Bayes. One batch is ``(x, y)``, y (B,), int64: labels 0..C-1, -1 where unknown; or ``(x,)``; x is (B, D).

    Sites:
        label: (), the index of a known label, or -1, observed, in the plate ``data``; not of batches ``(x,)``
        y: (), the class, in the plate ``data``; the model's alone, marked for parallel enumeration
        x: (D,), observed, in the plate ``data``

    Parameters: ``logits`` of w (C,); ``locs``: m of real numbers, else logits of theta; ``log_scales`` log s of real
    numbers.

    Args:
        spec: what one datum is: binary, counts, quantised, real, categorical or mixed; with ``num_classes`` where there
            are labels.
        num_components: C, of data without labels, and of no others.
        smoothing: a, the pseudo-count of each state of a feature; not of real numbers.
        var_smoothing: e, the share of the greatest variance of a real feature that is added to all of these.
        start: of data without labels, where classes start, as of ``gmm``; a class is first the data nearest to its own.

    Raises:
        UsageError: a number of classes is missing or given twice, the data are of no such kind, a number is negative.

    >>> pair = NaiveBayes(DataSpec("bits", 2, "binary", num_classes=2), smoothing=0.0)
    >>> pair.set_closed_form(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 0, 1]))
    >>> pair.classify(torch.tensor([[1.0, 1.0]])).detach().round(decimals=4)
    tensor([[1., 0.]])
    """

    def __init__(
        self,
        spec: DataSpec,
        num_components: Count | None = None,
        *,
        smoothing: NonNegative = 1.0,
        var_smoothing: NonNegative = 1e-9,
        start: Start = "kmeans++",
    ) -> None:
        super().__init__(data_size=spec.num_data)
        self.num_components = _number(spec, num_components)
        self.num_classes = spec.num_classes
        parts = [_part(part, place, smoothing, var_smoothing) for place, part in spec.parts]
        self.family = MixedComponents.of(parts) if spec.observation == "mixed" else parts[0].family
        self.smoothing = 0.0 if spec.observation == "mixed" else parts[0].smoothing  # mixed: each part has its own
        firsts = [_first(part, self.num_components) for _, part in spec.parts]
        locs = put_together(firsts, [part.place for part in parts]) if spec.observation == "mixed" else firsts[0]
        scales = self.family.start_scales(locs, 1.0)
        self.logits = nn.Parameter(torch.zeros(self.num_components))
        self.locs = nn.Parameter(locs)
        self.log_scales = None if scales is None else nn.Parameter(scales.log())
        self.start = DataStart("data" if spec.num_classes is not None else start)

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        log_weights = self.logits.log_softmax(-1)
        components = self._components
        if isinstance(components, Multinomials):
            components = Multinomials(components.locs, length=x.sum(-1))  # (C, V)
        with self.data_plate(x):
            if y is not None:
                pyro.sample("label", PossiblyKnown(logits=log_weights.expand(len(x), -1)), obs=y)  # (B,)
            prior = dist.Categorical(logits=self._given(y, log_weights))
            state = pyro.sample("y", prior, infer={"enumerate": "parallel"})  # (C, K, B)
            pyro.sample("x", Chosen(components, state), obs=x)  # (B, D)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """No latents that are not summed out: nothing to infer."""

    @property
    def weights(self) -> Tensor:
        """w, (C,)."""
        return self.logits.softmax(-1)

    @property
    def means(self) -> Tensor:
        """E[x_d | y], (C, D); of counts probabilities of words."""
        return self._components.means

    @property
    def _components(self) -> Components:
        return self.family(self.locs, None if self.log_scales is None else self.log_scales.exp())

    def classify(self, x: Tensor) -> Tensor:
        """p(y | x), the probability of each class: (B, D) to (B, C)."""
        return self._log_joint(x).softmax(-1)

    category_probs = classify

    def log_evidence(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The exact log p(x, y) where the label is known, log p(x) where it is not, (B,), in nats."""
        joint = self._log_joint(x)
        if y is None:
            return joint.logsumexp(-1)
        own = joint.gather(-1, y.clamp_min(0).unsqueeze(-1)).squeeze(-1)
        return torch.where(y == UNKNOWN_LABEL, joint.logsumexp(-1), own)

    def expected_statistics(self, x: Tensor, y: Tensor | None = None, *, hard: bool = False) -> dict[str, Tensor]:
        """``weights`` (C,), how many data each class has, and sums of what they hold; in float64."""
        r = self.classify(x)
        r = (one_hot(r.argmax(-1), self.num_components, r) if hard else r).double()
        if y is not None:
            known = one_hot(y.clamp_min(0), self.num_components, r)
            r = torch.where((y == UNKNOWN_LABEL).unsqueeze(-1), r, known)
        return self._sums(x, r)

    def maximised(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Shares of the classes, and their features' probabilities, smoothed, or means and deviations.

        Raises:
            UsageError: a class is left without data; a variance is zero and not smoothed.
        """
        weights = statistics["weights"]
        if bool((empty := weights <= torch.finfo(weights.dtype).eps).any()):
            raise UsageError(
                f"class {int(empty.nonzero()[0])} of {self.num_components} is left without data: give each class a "
                "datum with its label, or take fewer classes."
            )
        found = self.family.maximised(weights, statistics, self.smoothing)
        values = {"logits": (weights / weights.sum()).log(), "locs": found.locs}
        values |= {} if found.scales is None else {"log_scales": found.scales.log()}
        return {name: value.to(self.locs) for name, value in values.items()}

    @torch.no_grad()
    def set_closed_form(self, x: Tensor, y: Tensor) -> None:
        """Set all parameters to the maximum for the labelled ones of data x, (N, D), y (N,).

        Raises:
            UsageError: labels leave a class empty, or a variance is zero and not smoothed.
        """
        known = y != UNKNOWN_LABEL
        self._take(x[known], one_hot(y[known], self.num_components, x.double()))

    @property
    def waits_for_data(self) -> bool:
        """Whether training is still to begin at data."""
        return self.start.waits

    @torch.no_grad()
    def start_from(self, x: Tensor, y: Tensor | None = None, *, seed: int) -> None:
        """At the maximum for labelled data of (x, y); without labels, for data that belong to the nearest of C.

        Raises:
            UsageError: as :meth:`set_closed_form`; or there are fewer different data than components.
        """
        if y is not None:
            self.set_closed_form(x, y)
        else:
            chosen = self.start.chosen(x, self.num_components, seed=seed)
            self._take(x, one_hot(torch.cdist(x, chosen).argmin(-1), self.num_components, x.double()))

    def _take(self, x: Tensor, r: Tensor) -> None:
        """Go to the maximum for data that belong to classes by r, (N, C)."""
        for name, value in self.maximised(self._sums(x, r)).items():
            getattr(self, name).copy_(value)
        self.start.end()

    def _sums(self, x: Tensor, r: Tensor) -> dict[str, Tensor]:
        return {"count": r.new_full((), len(x)), "weights": r.sum(0), **self.family.statistics(x.double(), r)}

    def _log_joint(self, x: Tensor) -> Tensor:
        """log p(x, y) of every y, (B, C)."""
        return self.logits.log_softmax(-1) + self._components.table(x)

    def _given(self, y: Tensor | None, log_weights: Tensor) -> Tensor:
        """Logits of the class given the labels (B,): those of all, (C,), or all on the label where it is known."""
        if y is None:
            return log_weights
        label = one_hot(y.clamp_min(0), self.num_components, log_weights)  # (B, C)
        return torch.where((y != UNKNOWN_LABEL).unsqueeze(-1), _NEVER * (1 - label), log_weights)


def _number(spec: DataSpec, num_components: int | None) -> int:
    """C."""
    if num_components is None and spec.num_classes is None:
        raise UsageError(
            f"NaiveBayes needs the number of classes, and data {shown(spec.name)} come without labels: load them with "
            f"{setting('D', 'labels', True)}, or give {setting('M', 'num_components', 10)} to find clusters."
        )
    if num_components is not None and spec.num_classes is not None:
        raise UsageError(
            f"num_components={num_components} of NaiveBayes is for data without labels, and data {shown(spec.name)} "
            f"have those of {spec.num_classes} classes: leave it out, or load with {setting('D', 'labels', False)}."
        )
    if num_components is not None:
        at_most_data("NaiveBayes", "num_components", num_components, spec.num_data)
    return num_components or spec.num_classes or 1


def _part(spec: DataSpec, place: Place, smoothing: float, var_smoothing: float) -> Part:
    """The law of data of one kind. A category is a document of one word."""
    kinds: dict[str, type[Components]] = {
        "binary": SmoothedBernoullis,
        "counts": Multinomials,
        "real": SmoothedGaussians,
        "quantised": Categoricals.of(spec.levels or 2),
        "categorical": Multinomials,
    }
    if spec.observation not in kinds:
        raise UsageError(
            f"NaiveBayes needs data that are {', '.join(kinds)} or mixed, but data {shown(spec.name)} are "
            f"{spec.observation}."
        )
    return Part(kinds[spec.observation], place, var_smoothing if spec.observation == "real" else smoothing)


def _first(spec: DataSpec, num: int) -> Tensor:
    """Locs to begin with, about the mean of the data, (C, D) or (C, D L)."""
    if spec.observation == "quantised":
        return 0.5 * torch.randn(num, spec.num_features * (spec.levels or 2))
    centre = spec.centre
    if spec.observation in ("counts", "categorical"):
        centre = torch.zeros_like(centre) if spec.mean is None else centre.clamp_min(1e-4).log()
    elif spec.observation == "binary":
        centre = SmoothedBernoullis.locs_of(centre)
    return centre + 0.5 * torch.randn(num, spec.num_features)
