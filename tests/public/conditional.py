"""Labels: observed for some and enumerated in the guide for others, filled-in outputs, guides that observe."""

# The idioms as they are public: Pyro's decorators, modules and guides are untyped.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate
from torch import Tensor, nn

from ppgen.inference import Enumerate
from tests.public.case import FLOAT32, Case, Made

__all__ = ["CASES"]


def joined(*parts: Tensor) -> Tensor:
    """Their last dims side by side, the others broadcast."""
    shape = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(*shape, -1) for part in parts], -1)


class Labelled(nn.Module):
    """Six answers of a person of one of three kinds, which is known or None; plate ``data`` without a size."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Sequential(nn.Linear(5, 6), nn.Softplus(), nn.Linear(6, 6))
        self.encoder_y = nn.Sequential(nn.Linear(6, 3), nn.Softmax(-1))
        self.encoder_z = nn.Linear(9, 4)

    def model(self, xs: Tensor, ys: Tensor | None = None) -> None:
        pyro.module("labelled", self)
        with pyro.plate("data"):
            zs = pyro.sample("z", dist.Normal(xs.new_zeros(len(xs), 2), 1.0).to_event(1))
            ys = pyro.sample("y", dist.OneHotCategorical(xs.new_ones(len(xs), 3) / 3), obs=ys)
            probs = torch.sigmoid(self.decoder(joined(zs, ys)))
            pyro.sample("x", dist.Bernoulli(probs).to_event(1), obs=xs)

    def guide(self, xs: Tensor, ys: Tensor | None = None) -> None:
        pyro.module("labelled", self)
        with pyro.plate("data"):
            if ys is None:
                ys = pyro.sample("y", dist.OneHotCategorical(self.encoder_y(xs)))
            loc, log_scale = self.encoder_z(joined(xs, ys)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, 0.5 * log_scale.exp()).to_event(1))


def labelled(known: bool) -> Made:
    pair = Labelled()
    xs = torch.bernoulli(torch.full((8, 6), 0.4))
    ys = torch.eye(3)[torch.randint(3, (8,))]
    guide = pair.guide if known else config_enumerate(pair.guide, "parallel", expand=True)
    return Made(pair.model, guide, (xs, ys if known else None))


def flat(network: nn.Module, x: Tensor) -> Tensor:
    """A network of (rows, features) on any batch, as batch normalisation wants it."""
    y: Tensor = network(x.reshape(-1, x.shape[-1]))
    return y.reshape(*x.shape[:-1], -1)


class Tissue(nn.Module):
    """Counts given z2, z2 given a cell's type and z1; a classifier reads z2; its loss is a factor of the guide."""

    def __init__(self) -> None:
        super().__init__()
        self.z2_decoder = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4))
        self.x_decoder = nn.Linear(2, 8)
        self.z2l_encoder = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6))
        self.classifier = nn.Linear(2, 3)
        self.z1_encoder = nn.Linear(5, 4)

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        pyro.module("tissue", self)
        theta = pyro.param("dispersion", 5 * torch.ones(4), constraint=dist.constraints.positive)
        with pyro.plate("batch", len(x)), poutine.scale(scale=0.25):
            z1 = pyro.sample("z1", dist.Normal(0, x.new_ones(2)).to_event(1))
            y = pyro.sample("y", dist.OneHotCategorical(logits=x.new_zeros(3)), obs=y)
            loc, log_scale = flat(self.z2_decoder, joined(z1, y)).chunk(2, -1)
            z2 = pyro.sample("z2", dist.Normal(loc, 0.5 * log_scale.tanh().exp()).to_event(1))
            depth = pyro.sample("depth", dist.LogNormal(2.5 * x.new_ones(1), 0.3).to_event(1))
            gate, mu = self.x_decoder(z2).chunk(2, -1)
            logits = (depth * mu.softmax(-1) + 1e-6).log() - theta.log()
            counts = dist.ZeroInflatedNegativeBinomial(theta, logits=logits, gate_logits=gate - 2, validate_args=False)
            pyro.sample("x", counts.to_event(1), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        pyro.module("tissue", self)
        with pyro.plate("batch", len(x)), poutine.scale(scale=0.25):
            loc, log_scale, depth = self.z2l_encoder(torch.log1p(x)).chunk(3, -1)
            pyro.sample("depth", dist.LogNormal(2.5 + depth[..., :1], 0.3).to_event(1))
            z2 = pyro.sample("z2", dist.Normal(loc, 0.5 * log_scale.exp()).to_event(1))
            kind = dist.OneHotCategorical(logits=self.classifier(z2))
            if y is None:
                y = pyro.sample("y", kind)
            else:
                # has_rsample=False, as the tutorial has it, would make Pyro add a score-function term for no draw
                pyro.factor("classification_loss", -10 * kind.log_prob(y), has_rsample=True)
            loc, log_scale = self.z1_encoder(joined(z2, y)).chunk(2, -1)
            pyro.sample("z1", dist.Normal(loc, 0.5 * log_scale.exp()).to_event(1))


def tissue(known: bool) -> Made:
    pair = Tissue()
    x, y = torch.poisson(3 * torch.ones(8, 4)), torch.eye(3)[torch.randint(3, (8,))]
    guide = pair.guide if known else config_enumerate(pair.guide, "parallel", expand=True)
    return Made(pair.model, guide, (x, y if known else None))


class Halves(nn.Module):
    """The hidden half of a picture given the shown half; hidden dots (-1 in ``xs``) are one flat event of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.baseline = nn.Linear(6, 6)
        self.prior, self.generation, self.recognition = nn.Linear(12, 4), nn.Linear(2, 6), nn.Linear(12, 4)

    def model(self, xs: Tensor, ys: Tensor) -> None:
        pyro.module("halves", self)
        with pyro.plate("data"):
            with torch.no_grad():
                guess = torch.sigmoid(self.baseline(xs)).view(xs.shape)
            loc, log_scale = self.prior(torch.cat((xs, guess), dim=1)).chunk(2, dim=1)
            zs = pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))
            probs = torch.sigmoid(self.generation(zs))
            hidden = xs == -1
            pyro.sample("y", dist.Bernoulli(probs[hidden], validate_args=False).to_event(1), obs=ys[hidden])

    def guide(self, xs: Tensor, ys: Tensor) -> None:
        with pyro.plate("data"):
            loc, log_scale = self.recognition(torch.cat((xs, ys), dim=1)).chunk(2, dim=1)
            pyro.sample("z", dist.Normal(loc, 0.5 * log_scale.exp()).to_event(1))


def halves() -> Made:
    pair = Halves()
    ys = torch.bernoulli(torch.full((7, 6), 0.5))
    hidden = torch.arange(42).reshape(7, 6) % 5 < 2
    return Made(pair.model, pair.guide, (ys.masked_fill(hidden, -1.0), ys))


class Treatment(nn.Module):
    """A confounder z of covariates x, treatment t and outcome y; the guide observes t and y on its way to z."""

    def __init__(self) -> None:
        super().__init__()
        self.x_of_z, self.t_of_z, self.y_of_tz = nn.Linear(1, 3), nn.Linear(1, 1), nn.Linear(2, 1)
        self.t_of_x, self.y_of_tx, self.z_of_ytx = nn.Linear(3, 1), nn.Linear(4, 1), nn.Linear(5, 2)

    def model(self, x: Tensor, t: Tensor, y: Tensor, size: int | None = None) -> None:
        pyro.module("treatment", self)
        with pyro.plate("data", len(x) if size is None else size, subsample=x):
            z = pyro.sample("z", dist.Normal(0, torch.ones(1)).to_event(1))
            x = pyro.sample("x", dist.Normal(self.x_of_z(z), 1.0).to_event(1), obs=x)
            t = pyro.sample("t", dist.Bernoulli(logits=self.t_of_z(z).squeeze(-1)), obs=t)
            loc = self.y_of_tz(joined(t.unsqueeze(-1), z)).squeeze(-1)
            pyro.sample("y", dist.Laplace(loc, 0.7), obs=y)

    def guide(self, x: Tensor, t: Tensor, y: Tensor, size: int | None = None) -> None:
        pyro.module("treatment", self)
        with pyro.plate("data", len(x) if size is None else size, subsample=x):
            auxiliary: Any = {"is_auxiliary": True}
            t = pyro.sample("t", dist.Bernoulli(logits=self.t_of_x(x).squeeze(-1)), obs=t, infer=auxiliary)
            loc = self.y_of_tx(torch.cat([t.unsqueeze(-1), x], -1)).squeeze(-1)
            y = pyro.sample("y", dist.Laplace(loc, 1.0), obs=y, infer=auxiliary)
            both = torch.stack([t, y], -1)
            loc, log_scale = self.z_of_ytx(torch.cat([both, x], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, 0.6 * log_scale.exp()).to_event(1))


def treatment(**size: int) -> Made:
    pair = Treatment()
    batch = torch.randn(8, 3), torch.bernoulli(torch.full((8,), 0.5)), torch.randn(8)
    return Made(pair.model, pair.guide, batch, size)


class WithoutObserved(Trace_ELBO):
    """Stock's ELBO of log q(z | x): what the guide observes is no part of it."""

    def _differentiable_loss_particle(self, model_trace: Any, guide_trace: Any) -> Any:
        kept = guide_trace.copy()
        for name in [name for name, site in guide_trace.nodes.items() if site.get("is_observed")]:
            del kept.nodes[name]
        return super()._differentiable_loss_particle(model_trace, kept)

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        with torch.no_grad():
            traces = self._get_traces(model, guide, args, kwargs)
            return sum(float(self._differentiable_loss_particle(*both)[0]) for both in traces)


def summed(num_particles: int) -> Enumerate:
    return Enumerate(num_particles=num_particles)


ENUMERATED: dict[str, Any] = {
    "stock": TraceEnum_ELBO(max_plate_nesting=1),
    "ours": summed,
    "same_seed": False,
    "same_gradient": False,
}

CASES = [
    Case(
        "m2_unlabelled",
        "examples/vae/ss_vae_M2.py: y=None, enumerated in the guide; a plate without a size",
        lambda: labelled(known=False),
        num_data=8,
        **ENUMERATED,
    ),
    Case(
        "m2_labelled",
        "examples/vae/ss_vae_M2.py: y given",
        lambda: labelled(known=True),
        num_data=8,
        broken={"check_gradients": "where y is given the classifier has no part"},
    ),
    Case(
        "scanvi_unlabelled",
        "tutorial/scanvi.ipynb: the type enumerated in the guide between two reparameterized latents; plate 'batch'",
        lambda: tissue(known=False),
        num_data=8,
        looped=True,
        **ENUMERATED,
    ),
    Case(
        "scanvi_labelled",
        "tutorial/scanvi.ipynb: pyro.factor in the guide, all under poutine.scale",
        lambda: tissue(known=True),
        num_data=8,
        looped=True,
    ),
    Case(
        "filled_in_halves",
        "examples/cvae/cvae.py: a plate without a size; masked outputs of all data in one flat event, so joint",
        halves,
        weights="joint",
        broken={"check_gradients": "its first guess is made without gradients"},
        looped=True,
    ),
    Case(
        "guide_observes",
        "contrib/cevae: the guide observes t and y, auxiliary; subsample=x",
        treatment,
        num_data=8,
        stock=WithoutObserved(),
        compiled=True,
        broken={**FLOAT32, "check_gradients": "what the guide observes has no part"},
    ),
    Case(
        "guide_observes_scaled",
        "contrib/cevae: the same, as a batch of size=40 data, a keyword argument",
        lambda: treatment(size=40),
        num_data=8,
        scale=5.0,
        stock=WithoutObserved(),
        broken={**FLOAT32, "check_gradients": "what the guide observes has no part"},
    ),
]
