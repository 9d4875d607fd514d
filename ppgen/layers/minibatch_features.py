"""How near each datum of a batch is to the others, as features for a critic that would else see one datum at a time.

    M_i = h_i T,  T: (size, num, dims)                  o_ib = sum_j exp(-||M_ib - M_jb||_1)

A generator that makes the same x over and over gives its draws away by them. They are features of a batch of one kind,
all data or all draws.

Improved Techniques for Training GANs, Salimans, Goodfellow, Zaremba, Cheung, Radford and Chen, NeurIPS 2016, sec. 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppgen.arguments import Count, checked
from ppgen.errors import UsageError
from ppgen.layers.dense import glorot

__all__ = ["MinibatchFeatures"]


class MinibatchFeatures(nn.Module):
    """(B, size) to (B, size + num): the features as they are, and the ``num`` similarities beside them.

    Args:
        size: of the features of one datum.
        num: how many similarities.
        dims: of the space in which each is measured.

    Raises:
        UsageError: a batch of one datum, in training.

    >>> torch.manual_seed(0) and MinibatchFeatures(3, 2)(torch.ones(5, 3))[0]  # five that are equal
    tensor([1., 1., 1., 5., 5.], grad_fn=<SelectBackward0>)
    """

    @checked
    def __init__(self, size: Count, num: Count, dims: Count = 5) -> None:
        super().__init__()
        self.num, self.dims = num, dims
        self.to_space = glorot(nn.Linear(size, num * dims, bias=False))

    def forward(self, h: Tensor) -> Tensor:
        if self.training and len(h) == 1:
            raise UsageError(
                "minibatch features tell how near the data of a batch are to each other, at least 2 in training, got "
                "1: raise batch_size."
            )
        m: Tensor = self.to_space(h).reshape(len(h), self.num, self.dims)  # (B, num, dims)
        apart = (m[:, None] - m).abs().sum(-1)  # (B, B, num)
        return torch.cat([h, (-apart).exp().sum(1)], -1)
