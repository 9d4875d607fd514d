"""The Parzen window: a density from samples, where the model itself states none.

    p_sigma(x) = (1/S) sum_s N(x; x_s, sigma^2 I),        x_s, s = 1..S: samples of the model

    log p_sigma(x) = log (1/S) sum_s exp( -|x - x_s|^2 / 2 sigma^2 ) - D log( sigma sqrt(2 pi) )        (nats)

sigma is the one of a grid at which held-out data, which are not those to be scored, are the most likely. The number is
the log-likelihood of this mixture and not that of the model: it rewards samples that sit where data are, does not see
that they are copies, and in many dimensions is far from any density of interest. Samples of k-means centres score above
the training data themselves (Theis et al. 2016): both stand beside the number, as many training data and centres of
k-means by the same protocol. It is here because it was published for implicit models for a decade.

Better Mixing via Deep Representations. Bengio, Mesnil, Dauphin and Rifai, 2013: the estimate for generative models.
Generative Adversarial Nets. Goodfellow et al., 2014: 10,000 samples; sigma in ten steps of logspace(-1, 0) by the
likelihood of 1,000 validation data; mean and standard error over the test data.
A Note on the Evaluation of Generative Models. Theis, van den Oord and Bethge, 2016: what it does not say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ppgen.errors import UsageError, shown
from ppgen.evaluation.case import Case
from ppgen.evaluation.likelihood import mean_and_error
from ppgen.evaluation.result import Evaluation, Measure
from ppgen.machine.progress import track

__all__ = ["PUBLISHED_SIGMAS", "parzen_log_likelihood", "parzen_sigma", "parzen_window", "sigma_grid"]

PUBLISHED_SIGMAS = torch.logspace(-1, 0, 10, dtype=torch.float64)
"""Goodfellow et al. (2014), for pictures with values in [0, 1]."""

_RELATIVE_SIGMAS = torch.logspace(-3, 0, 31, dtype=torch.float64)
"""Everything else: times the root mean square of the features' standard deviations; ten a decade."""

_HELD_OUT = 1000
"""Validation data, the first ones, by which sigma is chosen."""

_PER_CENTRE = 5
"""Training data for each centre of k-means, at least: as many centres as data would be the data."""

_PASSES = 3
"""Of k-means over the data."""

_CELLS = 2**24
"""Distances at a time."""


def parzen_window(case: Case) -> Evaluation:
    """The log-likelihood of the split under a Parzen window of the pair's samples; sigma by the validation data.

    Raises:
        UsageError: no samples were asked for, or what they or the data hold is not finite.
    """
    samples, held_out = case.samples, case.data.rows("valid", slice(_HELD_OUT))[0]
    sigmas = sigma_grid(held_out, pictures=case.dataset.spec.image_shape is not None)
    sigma = parzen_sigma(samples, held_out, sigmas, progress=case.progress)
    scored = [parzen_log_likelihood(samples, part[0], sigma, progress=case.progress) for part in case.parts()]
    nats, error = mean_and_error(values := torch.cat(scored))
    width = Measure("parzen_sigma", sigma, None, _meaning(sigma, sigmas, len(samples), len(held_out)))
    beside = () if case.split == "train" else tuple(_beside(case, held_out, sigmas))
    return Evaluation(nats, error, None, case.split, len(values), (), method="parzen", measures=(width, *beside))


def _beside(case: Case, held_out: Tensor, sigmas: Tensor) -> Iterator[Measure]:
    """What as many training data, and centres of k-means of them, have as samples by the same protocol."""
    num = case.dataset.size("train")
    rows = torch.randperm(num)[: max(case.num_samples, _PER_CENTRE * case.num_samples)].to(held_out.device)
    train = case.dataset.draw(case.dataset.rows("train", rows))[0]
    data, centres = train[: case.num_samples], _centres(train, min(case.num_samples, len(train) // _PER_CENTRE))
    for name, points, what in (
        ("parzen_of_train", data, "training data"),
        ("parzen_of_centroids", centres, "centres of k-means of training data"),
    ):
        if not len(points):
            continue
        sigma = parzen_sigma(points, held_out, sigmas, progress=case.progress)
        scored = [parzen_log_likelihood(points, part[0], sigma, progress=case.progress) for part in case.parts()]
        meaning = (
            f"nats of {len(points):,} {what} in the place of samples, sigma {sigma:.3g}: a poor measure, which rewards "
            "copies and averages of the data"
        )
        yield Measure(name, *mean_and_error(torch.cat(scored)), meaning)


def _centres(x: Tensor, num: int) -> Tensor:
    """Centres of k-means, (num, D), by mini-batches."""
    from sklearn.cluster import MiniBatchKMeans

    if not num:
        return x[:0]
    size = min(len(x), max(1024, num))
    found = MiniBatchKMeans(num, init="random", n_init=1, max_iter=_PASSES, batch_size=size, random_state=0)
    return torch.as_tensor(found.fit(x.cpu().float().numpy()).cluster_centers_).to(x)


def _meaning(sigma: float, sigmas: Tensor, num_samples: int, num_held_out: int) -> str:
    low, high = float(sigmas[0]), float(sigmas[-1])
    edge = ", at its edge: a likelier one may lie beyond it" if sigma in (low, high) else ""
    return (
        f"standard deviation of the window around each of {num_samples:,} samples, the likeliest for {num_held_out:,} "
        f"validation data among {len(sigmas)} from {low:.3g} to {high:.3g}{edge}"
    )


def parzen_log_likelihood(samples: Tensor, data: Tensor, sigma: float, *, progress: bool = False) -> Tensor:
    """log p_sigma(x) of each datum.

    Args:
        samples: (S, D), where the window's Gaussians stand.
        data: (B, D), to be scored.
        sigma: their standard deviation.
        progress: show a progress bar.

    Returns:
        (B,), float64, in nats.

    Raises:
        UsageError: no samples, samples of another size than the data, sigma not positive, or a number not finite.

    >>> parzen_log_likelihood(torch.zeros(1, 2), torch.zeros(1, 2), 1.0) + math.log(2 * math.pi)
    tensor([0.], dtype=torch.float64)
    """
    return _log_densities(samples, data, [sigma], progress)[0]


def parzen_sigma(
    samples: Tensor, held_out: Tensor, sigmas: Sequence[float] | Tensor, *, progress: bool = False
) -> float:
    """The sigma of a grid at which ``held_out``, (B, D), have the largest mean log-likelihood.

    Raises:
        UsageError: as :func:`parzen_log_likelihood`, or an empty grid.
    """
    if len(sigmas) == 0:
        raise UsageError("expected at least one sigma to choose from, got none.")
    grid = [float(sigma) for sigma in sigmas]
    return grid[int(_log_densities(samples, held_out, grid, progress).mean(1).argmax())]


def sigma_grid(held_out: Tensor, *, pictures: bool) -> Tensor:
    """The sigmas to choose from: the published ones for pictures in [0, 1], else 31 from 1/1000 of the data's spread.

    The spread of data (B, D) is the root mean square of the features' standard deviations.

    Raises:
        UsageError: the data do not vary.
    """
    if pictures and float(held_out.min()) >= 0 and float(held_out.max()) <= 1:
        return PUBLISHED_SIGMAS
    spread = held_out.double().var(0).mean().sqrt().cpu()
    if not spread > 0:
        raise UsageError("the validation data are all alike: they have no spread to choose the window's sigma by.")
    return _RELATIVE_SIGMAS * spread


def _log_densities(samples: Tensor, data: Tensor, sigmas: Sequence[float], progress: bool) -> Tensor:
    """log p_sigma(x) for each sigma, (len(sigmas), B), float64."""
    _check(samples, data, sigmas)
    rows = max(1, _CELLS // len(samples))
    parts = []
    for start in track(range(0, len(data), rows), "Parzen window", progress):
        squares = torch.cdist(data[start : start + rows].double(), samples.double()).square()  # (rows, S)
        parts.append(torch.stack([(squares / (-2 * sigma**2)).logsumexp(1) for sigma in sigmas]))
    widths = torch.tensor(sigmas, dtype=torch.float64, device=data.device)
    constant = math.log(len(samples)) + data.shape[1] * (widths * math.sqrt(2 * math.pi)).log()
    return torch.cat(parts, dim=1) - constant[:, None]


def _check(samples: Tensor, data: Tensor, sigmas: Sequence[float]) -> None:
    shapes = tuple(samples.shape), tuple(data.shape)
    if samples.dim() != 2 or data.dim() != 2 or samples.shape[1] != data.shape[1] or not len(samples):
        raise UsageError(f"a Parzen window expects samples (S, D), S at least 1, and data (B, D), got {shapes}.")
    if not all(sigma > 0 for sigma in sigmas):
        raise UsageError(f"a Parzen window expects sigma > 0, got {shown(min(sigmas))}.")
    for name, x in (("samples", samples), ("data", data)):
        if not bool(x.isfinite().all()):
            raise UsageError(f"the {name} of a Parzen window hold a number that is not finite: look at the model.")
