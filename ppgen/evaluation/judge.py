"""A judge: a classifier that says what samples show, with its own error on data that were held out from its training.

Of data of D numbers it sees all at once where it was trained on such, and of pictures of c colours, each of the size
that it knows, every colour by itself. With C classes there are then C^c kinds of a datum, read as one number,

    kind = sum_i C^{c - i} y_i,        y_i = argmax_y p(y | colour i),   i = 1..c,

a thousand of three digits. What it says of a sample is as right as it is: its error is stated beside every number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ppgen.data import Dataset, DataSpec
from ppgen.errors import UsageError, shown
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import in_evaluation
from ppgen.pairs.places import brought_to
from ppgen.pairs.reductions import standard_error

__all__ = ["Judge", "hits", "judge"]

_ROWS = 1000
"""Data classified at a time."""


@torch.no_grad()
def hits(classify: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Whether each datum's most probable class is its label, (n,) of 0 and 1 in float64; unknown labels are left out.

    Raises:
        UsageError: no label is known.

    >>> hits(lambda x: x.softmax(-1), torch.eye(3), torch.tensor([0, 2, -1]))
    tensor([1., 0.], dtype=torch.float64)
    """
    known = y >= 0
    if not bool(known.any()):
        raise UsageError("accuracy needs labels, and none of the data has one: choose a split that has.")
    x, y = x[known], y[known]
    return torch.cat([classify(part).argmax(-1) for part in x.split(_ROWS)]).eq(y).double()


@dataclass(frozen=True, eq=False)
class Judge:
    """A pair with ``classify(x)``, (B, d) to (B, C), and perhaps ``features(x)``, (B, d) to (B, F); :func:`judge` makes
    one.

    Args:
        pair: trained.
        spec: what it was trained on.
        error: the share of its test data whose most probable class is not their label.
        standard_error: of that.
        num_data: of how many.
    """

    pair: Pair
    spec: DataSpec
    error: float
    standard_error: float
    num_data: int

    @property
    def num_classes(self) -> int:
        """C."""
        assert self.spec.num_classes is not None  # of a judge
        return self.spec.num_classes

    @property
    def stated(self) -> str:
        """How good it is, in words."""
        wrong, error = 100 * self.error, 100 * self.standard_error
        return f"a classifier that is wrong on {wrong:.2f} ± {error:.2f} percent of {self.num_data:,} held-out data"

    def num_parts(self, spec: DataSpec) -> int:
        """c: how many pictures that it knows a datum is made of.

        Raises:
            UsageError: it was trained on data of another kind or size.
        """
        known, shape = self.spec, spec.image_shape
        if spec.observation != known.observation:
            raise UsageError(
                f"the classifier was trained on data {shown(known.name)}, which are {known.observation}, and data "
                f"{shown(spec.name)} are {spec.observation}: train it on such data."
            )
        if spec.num_features == known.num_features:
            return 1
        if shape is not None and len(shape) == 3 and spec.num_features == shape[0] * known.num_features:
            return int(shape[0])
        raise UsageError(
            f"the classifier was trained on data of {known.num_features} numbers, and data {shown(spec.name)} have "
            f"{spec.num_features}, which are not pictures of several colours of that size: train it on such data."
        )

    def classes(self, x: Tensor, num_parts: int = 1) -> Tensor:
        """The most probable kind of each datum, (n, c d) to (n,), int64, 0..C^c - 1."""
        labels = self._seen(lambda part: self.pair.classify(part).argmax(-1), x, num_parts)  # (n, c)
        places = self.num_classes ** torch.arange(num_parts - 1, -1, -1, device=labels.device)
        return (labels * places).sum(1)

    @property
    def has_features(self) -> bool:
        """Whether it tells its features."""
        return callable(getattr(self.pair, "features", None))

    def features(self, x: Tensor, num_parts: int = 1) -> Tensor:
        """Those of each datum, of its colours side by side: (n, c d) to (n, c F), float64."""
        return self._seen(self.pair.features, x, num_parts).flatten(1).double()

    @torch.no_grad()
    def _seen(self, function: Callable[[Tensor], Tensor], x: Tensor, num_parts: int) -> Tensor:
        """What it says of each colour: (n, c, ...)."""
        with in_evaluation(self.pair):
            each = brought_to(self.pair, x).reshape(len(x) * num_parts, -1).split(_ROWS)
            found = torch.cat([function(part) for part in each])
        return found.reshape(len(x), num_parts, *found.shape[1:])


def judge(pair: Pair, data: Dataset, *, split: str | None = None) -> Judge:
    """The pair as a judge, its error measured on data with labels.

    Args:
        pair: a trained pair that classifies, such as ``classifier``.
        data: those that it was trained on.
        split: what was held out; None: ``test``, or the last that there is.

    Raises:
        UsageError: the pair does not classify, or the data have no labels.

    >>> import ppgen
    >>> data = ppgen.load_data("digits", labels=True, binarize="none")
    >>> run = ppgen.fit(ppgen.models.Classifier(data.spec, 8), data, "elbo", steps=2, eager=True)
    >>> found = judge(run.pair, run.data)
    >>> type(found).__name__, 0 <= found.error <= 1
    ('Judge', True)
    """
    classify, num_classes = getattr(pair, "classify", None), data.spec.num_classes
    if not callable(classify) or num_classes is None:
        what = "has no classify(x)" if num_classes is not None else "was trained on data without labels"
        raise UsageError(
            f"a classifier is needed to judge samples, and {type(pair).__name__} {what}: train one, `ppgen train "
            "classifier --data mnist -D binarize=none`."
        )
    with in_evaluation(pair):
        right = hits(classify, *brought_to(pair, data.draw(data.rows(split or data.last_split)))[:2])
    return Judge(pair, data.spec, 1 - float(right.mean()), standard_error(right), len(right))
