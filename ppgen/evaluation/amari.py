"""The Amari index: how far an unmixing is from one that separates the sources.

    P = W A
    index = [ sum_i (sum_j |P_ij| / max_j |P_ij| - 1) + sum_j (sum_i |P_ij| / max_i |P_ij| - 1) ] / (2 D (D - 1))

with W the unmixing and A the mixing that is known. It is 0 where P is a permutation with scales and signs, 1 at most.

Reference: A New Learning Algorithm for Blind Signal Separation, Amari, Cichocki and Yang, 1995, scaled to [0, 1].
"""

from __future__ import annotations

from torch import Tensor

from ppgen.errors import UsageError

__all__ = ["amari_index"]


def amari_index(unmixing: Tensor, mixing: Tensor) -> float:
    """Of an unmixing W against the mixing A, (D, D) each: 0 where sources are separated, 1 at most.

    Raises:
        UsageError: the matrices are not square and of one size of two or more, or W A has a row or column of zeros.

    >>> import torch
    >>> amari_index(torch.tensor([[0.0, 2.0], [-1.0, 0.0]]), torch.eye(2))
    0.0
    """
    size = len(mixing)
    if size < 2 or unmixing.shape != (size, size) or mixing.shape != (size, size):
        raise UsageError(
            "the Amari index takes two square matrices of one size of two or more, and got "
            f"{tuple(unmixing.shape)} and {tuple(mixing.shape)}."
        )
    product = (unmixing.detach() @ mixing.detach()).double().abs()
    if not bool((product.amax(0) > 0).all() & (product.amax(1) > 0).all()):
        raise UsageError(
            "the Amari index takes invertible matrices, and unmixing @ mixing has a row or column of zeros."
        )
    over = sum(float((product.sum(dim) / product.amax(dim) - 1).sum()) for dim in (0, 1))
    return over / (2 * size * (size - 1))
