"""The hand-written PyTorch step with its loss and gradient under `torch.compile` (CUDA graphs on a GPU)."""

import torch
from torch import Tensor
from torch_problem import batches, networks

from peers import Step
from peers.handwritten import make_loss, train_step

__all__ = ["make_step"]


def make_step(batch_size: int, num_particles: int, device: str) -> Step[Tensor]:
    """The hand-written step, compiled for one shape of batch."""
    encoder, decoder = networks(device)
    mode = "reduce-overhead" if device == "cuda" else "default"
    loss = torch.compile(make_loss(encoder, decoder, num_particles), mode=mode, fullgraph=True, dynamic=False)
    return train_step(loss, (encoder, decoder), batches(batch_size, device), batch_size)
