"""The problem in PyTorch, shared by the peers built on it: the two networks and the batches on the device."""

from collections.abc import Callable

import problem
import torch
from torch import Tensor, nn

__all__ = ["batches", "networks"]


def networks(device: str) -> tuple[nn.Sequential, nn.Sequential]:
    """Encoder (784 -> 100) and decoder (50 -> 784) with the common first values; the seed is set."""
    torch.manual_seed(0)
    encoder, decoder = (mlp(layers).to(device) for layers in problem.first_values())
    return encoder, decoder


def mlp(layers: problem.Layers) -> nn.Sequential:
    """Linear layers with tanh between them, holding copies of the given values."""
    modules: list[nn.Module] = []
    for weight, bias in layers:
        linear = nn.Linear(*weight.shape)
        linear.weight.data.copy_(torch.from_numpy(weight.T))
        linear.bias.data.copy_(torch.from_numpy(bias))
        modules += [linear, nn.Tanh()]
    return nn.Sequential(*modules[:-1])


def batches(batch_size: int, device: str) -> Callable[[], Tensor]:
    """A function that fetches the next minibatch, (B, 784): data and permutation stay on the device."""
    data = torch.from_numpy(problem.images()).to(device)
    indices = problem.index_batches(batch_size)
    permutation = torch.empty(0, dtype=torch.int64)

    def fetch() -> Tensor:
        nonlocal permutation
        fresh, start = next(indices)
        if fresh is not None:
            permutation = torch.from_numpy(fresh).to(device)
        return data[permutation[start : start + batch_size]]

    return fetch
