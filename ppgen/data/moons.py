"""Two interleaved half circles in the plane, scikit-learn's: a curved density of two parts that a line cannot divide.

x = (cos t, sin t) + s e                moon 0,        t evenly spaced in [0, pi],  e ~ N(0, I)
x = (1 - cos t, 1/2 - sin t) + s e      moon 1

What a density can reach is minus the entropy: E[log p(x)] = -0.2892 nats of s = 0.05, by quadrature of p, t uniform.
"""

from __future__ import annotations

from ppgen.arguments import Count, NonNegative, Seed
from ppgen.data.assemble import Part, assemble
from ppgen.data.dataset import Dataset
from ppgen.registry import register_data

__all__ = ["moons"]


@register_data(
    "moons",
    summary="synthetic: two interleaved half circles in the plane, from scikit-learn",
    reference="Pedregosa et al., Scikit-learn: machine learning in Python",
    year=2011,
    link="https://jmlr.org/papers/v12/pedregosa11a.html",
    tags=("synthetic", "real", "labels", "embedded"),
)
def moons(*, noise: NonNegative = 0.05, labels: bool = False, num_data: Count = 10_000, seed: Seed = 0) -> Dataset:
    """``num_data`` rows to train, a tenth as many to validate and test, of one shuffled ``make_moons``.

    Args:
        noise: s, the standard deviation about the half circles, of radius one.
        labels: batches are (x, y), y the moon.
        num_data: the number of training rows.
        seed: seeds the rows.
    """
    from sklearn.datasets import make_moons

    held_out = max(1, num_data // 10)
    rows = Part(*make_moons(num_data + 2 * held_out, noise=noise, random_state=seed))
    valid, test = rows[num_data : num_data + held_out], rows[num_data + held_out :]
    return assemble("moons", rows[:num_data], valid, test, observation="real", num_classes=2 if labels else None)
