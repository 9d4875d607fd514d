"""What the filters of a run of sparse coding are like, and how well codes tell classes beside principal components.

    python benchmarks/sparse_codes.py filters RUN
    python benchmarks/sparse_codes.py probe RUN

``filters``: of every column of the dictionary, as a picture, the R^2 of the best Gabor function,

    g(u, v) = exp(-u^2 / 2 a^2 - v^2 / 2 b^2) (p cos 2 pi f u + q sin 2 pi f u),      (u, v): turned and moved pixels,

by least squares from several starts, and the share of pixels that hold half of its energy: small where it is localised.
Beside them, the same of as many principal components of the training data. ``probe``: the error of a logistic
regression on codes, and on as many principal components, of at most 10,000 training and test data of the run's labelled
data.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares
from sklearn.decomposition import PCA

import ppgen
from ppgen.evaluation import linear_probe

Pixels = NDArray[np.float64]

_FIT = 0.8
_AT_MOST = 10_000


def gabor_fit(picture: Pixels) -> float:
    """R^2 of the best Gabor function of (S, S)."""
    size = len(picture)
    target = picture / np.linalg.norm(picture)
    rows, columns = np.mgrid[:size, :size]
    energy = target**2
    centre = [(energy * axis).sum() for axis in (rows, columns)]
    spectrum = np.abs(np.fft.fft2(target, (4 * size, 4 * size)))[: 2 * size]
    down, across = np.unravel_index(spectrum.argmax(), spectrum.shape)
    cycles = [np.fft.fftfreq(4 * size)[at] for at in (down, across)]

    def waves(values: Pixels) -> Pixels:
        y, x, a, b, angle, f = values
        a, b = np.clip([a, b], -1, 3)
        u = (rows - y) * np.cos(angle) + (columns - x) * np.sin(angle)
        v = (columns - x) * np.cos(angle) - (rows - y) * np.sin(angle)
        envelope = np.exp(-(u**2) / (2 * np.exp(2 * a)) - v**2 / (2 * np.exp(2 * b)))
        return np.stack([envelope * np.cos(2 * np.pi * f * u), envelope * np.sin(2 * np.pi * f * u)]).reshape(2, -1)

    def left(values: Pixels) -> Pixels:
        basis = waves(values).T
        weights = np.linalg.lstsq(basis, target.ravel(), rcond=None)[0]
        found: Pixels = target.ravel() - basis @ weights
        return found

    angle, f = np.arctan2(cycles[1], cycles[0]), np.hypot(*cycles)
    starts = ([*centre, np.log(wide), np.log(long), angle, max(f, 0.02)] for wide in (1, 2.5) for long in (2, 5))
    return 1 - min(float(2 * least_squares(left, start, max_nfev=40).cost) for start in starts)


def half_energy(columns: Pixels) -> Pixels:
    """The share of pixels of each column, (D, H), that hold half of its energy."""
    energy = -np.sort(-(columns**2), axis=0)
    found: Pixels = ((energy.cumsum(0) < energy.sum(0) / 2).sum(0) + 1) / len(columns)
    return found


def filters(run: Any) -> dict[str, Any]:
    height, width = run.data.spec.image_shape
    columns = run.pair.dictionary.detach().double().numpy()
    components = PCA(min(columns.shape)).fit(run.data.train[0].numpy()).components_.T
    found = {}
    for name, every in {"dictionary": columns, "principal components": components}.items():
        fits = np.array([gabor_fit(column.reshape(height, width)) for column in every.T])
        found[name] = {
            "number": every.shape[1],
            f"share fitted with R^2 >= {_FIT}": float((fits >= _FIT).mean()),
            "median R^2": float(np.median(fits)),
            "median share of pixels with half of the energy": float(np.median(half_energy(every))),
        }
    return found


def probe(run: Any) -> dict[str, Any]:
    options = {**run.data.config["options"], "labels": True}
    data = ppgen.load_data(run.data.config["name"], **options)
    (train, y), (test, y_test) = (tuple(part[:_AT_MOST] for part in data.split(name)) for name in ("train", "test"))
    with torch.no_grad():
        codes = [run.pair.encode(x).double() for x in (train, test)]
    size = min(codes[0].shape[1], train.shape[1])
    found = PCA(size, random_state=0).fit(train.numpy())
    components = [torch.from_numpy(found.transform(x.numpy())) for x in (train, test)]
    errors = {
        name: float(linear_probe(of_train, y, of_test, y_test).wrong.mean())
        for name, (of_train, of_test) in {"codes": codes, "principal components": components}.items()
    }
    return {"size": codes[0].shape[1], "active": float((codes[1] != 0).double().mean()), "error": errors}


if __name__ == "__main__":
    what, where = sys.argv[1:]
    print(json.dumps({"filters": filters, "probe": probe}[what](ppgen.load(where)), indent=2))
