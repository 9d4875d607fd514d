"""The pair contract: a model p(x, z) and a guide q(z | x) in one module."""

from __future__ import annotations

import inspect
from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import pyro
import torch
from pyro.nn import PyroModule, pyro_method
from torch import Tensor

from ppgen.arguments import check_arguments
from ppgen.errors import UsageError
from ppgen.pairs.parameters import owner
from ppgen.pairs.plates import plate_of
from ppgen.pairs.rows import in_turn
from ppgen.pairs.running import Batch, HowToRun, Program
from ppgen.pairs.sampling import Draws, draws_of, global_draws, has_latents, local_latents, unconditioned
from ppgen.pairs.sites import is_latent, per_datum
from ppgen.pairs.stacking import alone
from ppgen.pairs.traces import unobserved
from ppgen.pairs.tracing import run_particles

__all__ = ["Pair", "check_density", "check_explicit", "check_likelihood", "check_prior"]


class _PairMeta(type(PyroModule), ABCMeta):  # type: ignore[misc]  # pyro is untyped
    """Pyro's module metaclass that can be abstract; it checks the arguments of an instance, and notes them."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        given = inspect.signature(cls).bind(*args, **kwargs)
        check_arguments(cls.__init__, given)  # type: ignore[misc]  # of this very class
        instance = super().__call__(*given.args, **given.kwargs)
        given.apply_defaults()
        instance.arguments = dict(given.arguments)
        return instance

    @property
    def __signature__(cls) -> inspect.Signature:
        """The constructor's, which ``__call__`` above would hide from ``inspect.signature(cls)``."""
        made_by = inspect.signature(cls.__init__)  # type: ignore[misc]
        return made_by.replace(parameters=list(made_by.parameters.values())[1:])


class Pair(HowToRun, PyroModule, metaclass=_PairMeta):  # type: ignore[metaclass]  # type(PyroModule) is not seen
    """A generative model p(x, z) and its guide q(z | x).

    ``model(*batch)`` and ``guide(*batch)`` have the same signature and the same latent site names. Whatever belongs
    to one datum stands under ``with self.data_plate(x):``; what stands outside it is a global latent. Parameters are
    the module's own: no decorators, no ``pyro.module``, no names for the param store. Pyro's ``SVI``, ``Predictive``
    and ``ELBO`` classes take ``pair.model`` and ``pair.guide`` as they are. Sampling is a run of the model with nothing
    observed; a pair that is drawn from otherwise overrides :meth:`draw_data` and :meth:`remake_data`.

    Args:
        data_size: N, the number of training data, for the scale N / B of a minibatch; None: a batch is all the data.

    To add one: 1. copy ``models/autoencoders/vae.py`` and write its mathematics at the top; 2. build networks in
    ``__init__``; 3. write ``model`` and ``guide``; 4. decorate with ``@register_model`` (give it a ``tiny`` case),
    export it from ``models/__init__.py``, and run ``ppgen check NAME --data digits``.

    >>> import pyro.distributions as dist
    >>> import ppgen
    >>> class Sum(Pair):
    ...     def model(self, x):
    ...         with self.data_plate(x):
    ...             z = pyro.sample("z", dist.Normal(0.0, 1.0))
    ...             pyro.sample("x", dist.Normal(z, 1.0), obs=x)
    ...     def guide(self, x):
    ...         with self.data_plate(x):
    ...             pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))  # the posterior
    >>> ppgen.log_weights(Sum(), (torch.zeros(2),), num_particles=3)  # log N(0; 0, 2), whatever z
    tensor([[-1.2655, -1.2655],
            [-1.2655, -1.2655],
            [-1.2655, -1.2655]])
    """

    normalised: ClassVar[bool] = True
    """Whether the model is a density; False for one that is known up to a constant (:mod:`ppgen.pairs.energy`)."""
    exact_guide: ClassVar[bool] = False
    """Whether the guide is p(z | x) whatever the parameters, so that all particles of a datum weigh the same."""
    implicit: ClassVar[bool] = False
    """Whether the model states no density of x, only how it is drawn (a GAN's generator: x is a Delta at G(z))."""
    implicit_guide: ClassVar[bool] = False
    """Whether the guide states no density of its latents, only how they are drawn: a Delta at a network of noise."""
    folds_in: ClassVar[bool] = False
    """Whether a datum has parameters that are found by itself when it is evaluated: log p(x) is then their maximum."""
    takes_source: ClassVar[bool] = False
    """Whether a batch is (x, s), s the vector that x is made of, and not a label."""
    has_chains: ClassVar[bool] = False
    """Whether Markov chains lead to it, and from a distribution of known log Z: an energy-based pair."""
    origin: dict[str, Any] | None = None
    """The name and options it was made from, and the class, when ``make_pair`` made it."""

    def __init__(self, data_size: int | None = None) -> None:
        super().__init__()
        self.data_size = data_size

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name in ("model", "guide"):
            if name in cls.__dict__:
                setattr(cls, name, pyro_method(cls.__dict__[name]))
        model, guide = (list(inspect.signature(getattr(cls, name)).parameters) for name in ("model", "guide"))
        if model != guide and not inspect.isabstract(cls):
            raise TypeError(
                f"{cls.__name__}: model{tuple(model)} and guide{tuple(guide)} must have the same signature."
            )

    @abstractmethod
    def model(self, *batch: Any, **options: Any) -> Any:
        """The joint p(x, z); observed sites are given ``obs=``."""

    @abstractmethod
    def guide(self, *batch: Any, **options: Any) -> Any:
        """The approximation q(z | x), with the model's latent sites."""

    def data_plate(self, x: Tensor) -> pyro.plate:
        """The plate of the data in the batch whose first tensor is ``x`` (B, ...), scaled N / B when N is known."""
        if self.data_size is None:
            return pyro.plate(self.plate_name, len(x), dim=-1)
        return pyro.plate(self.plate_name, self.data_size, subsample=torch.arange(len(x), device=x.device), dim=-1)

    @property
    def has_weights(self) -> bool:
        """Whether log-weights exist: model and guide state their densities, the model's if only up to a constant."""
        return not (self.implicit or self.implicit_guide)

    @property
    def has_prior(self) -> bool:
        """Whether latents, and x after them, can be drawn from its model."""
        return self.normalised

    @property
    def needs_log_z(self) -> bool:
        """Whether its log-weights say of a likelihood only what is left when log Z is taken off them."""
        return not self.normalised

    @property
    def has_density(self) -> bool:
        """Whether it states a density of x, whole: log-weights estimate log p(x)."""
        return self.has_weights and not self.needs_log_z

    @property
    def has_approximate_guide(self) -> bool:
        """Whether its guide infers something, and may be off."""
        return self.has_weights and not self.exact_guide

    @property
    def states_x(self) -> bool:
        """Whether it has ``distribution()``, the law of x itself: nothing is drawn first that x could be made of."""
        return callable(getattr(self, "distribution", None))

    @property
    def reconstructs(self) -> bool:
        """Whether it has ``reconstruct(*batch)``, which makes x again, (B, D) to (B, D), without chance."""
        return callable(getattr(self, "reconstruct", None))

    @property
    def translates(self) -> bool:
        """Whether it has ``translate(s)``, which makes x of a source, (B, D_s) to (B, D), without chance."""
        return callable(getattr(self, "translate", None))

    def draw_data(self, batch: Batch, num: int, start: Tensor | None = None) -> Draws:
        """``num`` data, by torch's global random numbers: what :func:`ppgen.draws.prior_samples` gives under a seed.

        z ~ p(z), x ~ p(x | z), and latents outside the data plate by the guide at ``batch``.

        Raises:
            UsageError: the model cannot be drawn from; no observed site has the shape of x.
        """
        check_prior(self)
        wanted = in_turn(batch, num)
        sites = unconditioned(self.model, wanted, global_draws(self, batch))
        if not has_latents(sites):
            return draws_of(sites, wanted[0], "x ~ p(x)", "Means of p(x)")
        by_point = "x = G(z), z ~ p(z)"
        said = (by_point, by_point) if self.implicit else ("z ~ p(z), x ~ p(x | z)", "Means of p(x | z), z ~ p(z)")
        return replace(draws_of(sites, wanted[0], *said), drawn_from="prior")

    def draw_latents(self, batch: Batch, num: int) -> dict[str, Tensor]:
        """``num`` draws of the latents of a datum from the prior, by site name, each (num, F); as :meth:`draw_data`."""
        check_prior(self)
        sites = unconditioned(self.model, in_turn(batch, num), global_draws(self, batch))
        plate = plate_of(self, sites)
        return {
            name: per_datum(sites[name], plate, sites[name]["value"][None])[0] for name in local_latents(sites, plate)
        }

    def remake_data(self, batch: Batch) -> Draws:
        """Every datum of ``batch`` made again: one z ~ q(z | x), then x' ~ p(x' | z).

        Raises:
            UsageError: the model cannot be drawn from; no observed site has the shape of x.
        """
        check_prior(self)
        one = run_particles(Program(self.model, self.guide), batch, 1)
        latents = {name: site["value"] for name, site in one.guide_sites.items() if is_latent(site)}
        given = {**latents, **(one.runner.summed_given(latents) if one.summed else {})}  # (1, ...)
        sites = one.runner.at(unobserved(self.model), given)
        of_mean = "the mean of p(x | z) at one draw z of the guide"
        return draws_of({name: alone(s) for name, s in sites.items()}, batch[0], "a draw of p(x | z) there", of_mean)

    def filters(self) -> Tensor | None:
        """What each hidden unit weighs x with, or each latent adds to it, for a page to picture, (D, H), or
        (C, k, k, H) where these are smaller pictures than a datum; None: there are none."""
        return None

    def loadings(self) -> Tensor | None:
        """The columns that latents weigh and the mean of x is a sum of, up to a constant, (D, K), whose span evaluation
        holds against principal components; None: the pair is not linear."""
        return None

    def assigned(self, *batch: Any) -> dict[str, Tensor]:
        """Parameters and buffers, by name, that each step of :func:`ppgen.fit` on a batch sets to these values, beside
        what gradients move: what a closed form gives of it at the values before the step, without a gradient."""
        return {}

    def advice_on(self, x: Tensor) -> str:
        """What speaks against training on data like x, (B, D), though it can be done: a sentence, or empty."""
        return ""

    def log_z_sizes(self, x: Tensor) -> Tensor | None:
        """Of what size each of the data x, (B, D), is, (B,), where log Z is another for each size, as for documents;
        None: they all have one log Z, as they do unless a pair says otherwise."""
        return None

    def are_usual(self, sizes: Tensor) -> bool:
        """Whether data of these sizes, (B,), have the log Z of what the pair draws."""
        return False


def check_density(model: Callable[..., Any], needed_by: str) -> None:
    """The model is a density, not known up to a constant only, nor by its draws alone; the guide's is known too.

    Raises:
        UsageError: it belongs to an unnormalised or to an implicit pair.
    """
    check_explicit(owner(model), needed_by)
    check_likelihood(model, needed_by)


def check_likelihood(model: Callable[..., Any], needed_by: str) -> None:
    """The model is a density, not known up to a constant only, nor by its draws alone, whatever the guide is.

    Raises:
        UsageError: it belongs to an unnormalised pair, or to one that does not state it.
    """
    pair = owner(model)
    _check_states_x(pair, needed_by)
    if isinstance(pair, Pair) and pair.needs_log_z:
        raise UsageError(
            f"{needed_by} needs a normalised model, and {type(pair).__name__} is unnormalised: log p(x, z) is known up "
            "to a constant that training would raise without end; choose an objective for energy-based pairs, 'pcd'."
        )


def check_prior(pair: Pair) -> None:
    """The pair's model can be drawn from, latents first.

    Raises:
        UsageError: it is unnormalised.
    """
    if not pair.has_prior:
        raise UsageError(
            f"expected a pair whose latents have a prior to draw from, got {type(pair).__name__}, which is "
            "unnormalised: draw its data by Markov chains (ppgen.pairs.EnergyPair), or write its draw_data."
        )


def check_explicit(pair: Any, needed_by: str) -> None:
    """The pair states a density of x, and its guide one of the latents.

    Raises:
        UsageError: it is implicit, or its guide is.
    """
    _check_states_x(pair, needed_by)
    _check_states_latents(pair, needed_by)


def _check_states_latents(pair: Any, needed_by: str) -> None:
    """The guide states a density of the latents.

    Raises:
        UsageError: it is implicit.
    """
    if getattr(pair, "implicit_guide", False):
        raise UsageError(
            f"{needed_by} needs a density of the latents, and the guide of {type(pair).__name__} is implicit: it says "
            "how they are drawn and no q(z | x), so that log-weights and bounds do not exist; train it with an "
            "objective that reads its draws, 'avb', and judge it by its samples."
        )


def _check_states_x(pair: Any, needed_by: str) -> None:
    if getattr(pair, "implicit", False):
        raise UsageError(
            f"{needed_by} needs a density of x, and {type(pair).__name__} is implicit: it states how x is drawn and no "
            "p(x | z), so that log-weights and bounds do not exist; train it with an objective that reads samples, "
            "such as 'nonsaturating', and judge it by its samples."
        )
