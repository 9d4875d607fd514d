"""Autoencoders as Pyro's examples write them: modules that know a batch as (B, ...) and nothing to its left."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro import poutine
from torch import Tensor, nn

from tests.public.case import FLOAT32, Case, Made

__all__ = ["CASES"]


class Shades(nn.Module):
    """Pictures of 2 x 3 dots, each in one of four shades: ``view(len(x), -1)`` and ``softmax(dim=1)``."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(6, 4)
        self.decode = nn.Linear(2, 24)

    def shades(self, z: Tensor) -> Tensor:
        logits = self.decode(z).view(len(z), 4, 6)
        return torch.softmax(3 * logits, dim=1)  # (B, 4, 6)

    def model(self, pictures: Tensor) -> None:
        pyro.module("shades", self)
        flat = pictures.view(len(pictures), -1)
        with pyro.plate("images", len(flat)):
            z = pyro.sample("z", dist.Normal(flat.new_zeros(len(flat), 2), 1.0).to_event(1))
            probs = self.shades(z).permute(0, 2, 1)  # (B, 6, 4)
            pyro.sample("dots", dist.Categorical(probs).to_event(1), obs=flat)

    def guide(self, pictures: Tensor) -> None:
        pyro.module("shades", self)
        flat = pictures.view(len(pictures), -1)
        with pyro.plate("images", len(flat)):
            loc, scale = self.encode(flat).chunk(2, dim=1)
            pyro.sample("z", dist.Normal(loc, 0.3 * scale.exp()).to_event(1))


def shades() -> Made:
    pair = Shades()
    return Made(pair.model, pair.guide, (torch.randint(4, (9, 2, 3)).float(),))


class Topics(nn.Module):
    """Topic proportions softmax(z), words softmax(BatchNorm(beta theta), dim=1); plate ``documents``."""

    def __init__(self, normalised: str) -> None:
        super().__init__()
        self.beta = nn.Linear(3, 7, bias=False)
        self.hidden = nn.Linear(7, 5)
        self.loc, self.log_scale = nn.Linear(5, 3), nn.Linear(5, 3)
        self.decoder_norm = nn.BatchNorm1d(7, affine=False) if normalised == "decoder" else nn.Identity()
        self.encoder_norm = nn.BatchNorm1d(3, affine=False) if normalised == "encoder" else nn.Identity()

    def model(self, counts: Tensor) -> None:
        pyro.module("topics", self)
        with pyro.plate("documents", counts.shape[0]):
            logtheta = pyro.sample("logtheta", dist.Normal(counts.new_zeros(len(counts), 3), 1.0).to_event(1))
            theta = F.softmax(logtheta, -1)
            words = F.softmax(self.decoder_norm(self.beta(theta)), dim=1)
            total = int(counts.sum(-1).max())
            pyro.sample("words", dist.Multinomial(total, words), obs=counts)

    def guide(self, counts: Tensor) -> None:
        pyro.module("topics", self)
        with pyro.plate("documents", counts.shape[0]):
            hidden = F.softplus(self.hidden(counts))
            scale = 0.1 * self.log_scale(hidden).tanh().exp()
            pyro.sample("logtheta", dist.Normal(self.encoder_norm(self.loc(hidden)), scale).to_event(1))


def topics(normalised: str) -> Made:
    pair = Topics(normalised)
    counts = dist.Multinomial(12, torch.tensor([4.0, 3, 2, 1, 1, 1, 1])).sample((8,))
    return Made(pair.model, pair.guide, (counts,))


class Tied(nn.Module):
    """Answers to six questions; a layer of the encoder and one of the decoder have one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(6, 2, bias=False)
        self.decoder = nn.Linear(2, 6)
        self.hidden = nn.Linear(2, 2, bias=False)
        self.output = nn.Linear(2, 2, bias=False)
        self.output.weight = self.hidden.weight
        self.log_scale = nn.Parameter(torch.full((2,), -1.0))

    def model(self, scores: Tensor) -> None:
        pyro.module("tied", self)
        with pyro.plate("data", len(scores)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            loc = self.decoder(self.output(z).tanh() + z)
            pyro.sample("scores", dist.Normal(loc, 0.5).to_event(1), obs=scores)

    def guide(self, scores: Tensor) -> None:
        pyro.module("tied", self)
        with pyro.plate("data", len(scores)):
            loc = self.hidden(self.encoder(scores).tanh())
            pyro.sample("z", dist.Normal(loc, self.log_scale.exp()).to_event(1))


def tied() -> Made:
    pair = Tied()
    return Made(pair.model, pair.guide, (torch.randn(10, 6),))


class Cells(nn.Module):
    """Counts of five genes in each of a plate of ``cells``, with a latent depth, and ``beta`` weighing its prior."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 5))
        self.encoder = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4))
        self.depth = nn.Linear(5, 2)

    def model(self, counts: Tensor, beta: float = 1.0) -> None:
        pyro.module("cells", self)
        inverse_dispersion = pyro.param("inverse_dispersion", 4 * torch.ones(5), constraint=dist.constraints.positive)
        with pyro.plate("cells", len(counts)):
            with poutine.scale(scale=beta):
                z = pyro.sample("z", dist.Normal(0, torch.ones(2)).to_event(1))
                depth = pyro.sample("depth", dist.LogNormal(torch.tensor([3.0]), 0.3).to_event(1))
            mean = depth * torch.softmax(self.decoder(z), dim=-1)
            logits = (mean + 1e-6).log() - inverse_dispersion.log()
            rate = dist.NegativeBinomial(inverse_dispersion, logits=logits)
            pyro.sample("counts", rate.to_event(1), obs=counts)

    def guide(self, counts: Tensor, beta: float = 1.0) -> None:
        pyro.module("cells", self)
        logs = torch.log1p(counts)
        with pyro.plate("cells", len(counts)), poutine.scale(scale=beta):
            loc, log_scale = self.encoder(logs).split(2, dim=-1)
            pyro.sample("z", dist.Normal(loc, 0.3 * log_scale.exp()).to_event(1))
            centre, log_width = self.depth(logs).split(1, dim=-1)
            pyro.sample("depth", dist.LogNormal(3 + 0.1 * centre, 0.2 * log_width.tanh().exp()).to_event(1))


def cells(**annealing: Any) -> Made:
    pair = Cells()
    return Made(pair.model, pair.guide, (torch.poisson(4 * torch.ones(8, 5)),), annealing)


CASES = [
    Case(
        "shades",
        "examples/vae/vae.py: flat pictures, softmax(dim=1) in the decoder",
        shades,
        num_data=9,
        compiled=True,
        looped=True,
    ),
    Case(
        "topics_normed_decoder",
        "tutorial/prodlda.ipynb: BatchNorm1d and softmax(dim=1) in the decoder, plate 'documents'",
        lambda: topics("decoder"),
        num_data=8,
        looped=True,
    ),
    Case(
        "topics_normed_encoder",
        "tutorial/prodlda.ipynb: BatchNorm1d in the encoder alone",
        lambda: topics("encoder"),
        num_data=8,
        looped=True,
    ),
    Case(
        "tied_weights",
        "tutorial/vae.ipynb: two layers with one weight",
        tied,
        num_data=10,
        compiled=True,
        broken=FLOAT32,
    ),
    Case(
        "annealed_cells",
        "tutorial/scanvi.ipynb: plate 'cells', negative binomial counts; beta=0.5 as a keyword, by poutine.scale",
        lambda: cells(beta=0.5),
        num_data=8,
        compiled=True,
        broken=FLOAT32,
    ),
]
