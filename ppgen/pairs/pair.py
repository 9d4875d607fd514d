"""The pair contract: a model p(x, z) and a guide q(z | x) in one module."""

from __future__ import annotations

import inspect
from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import pyro
import torch
from pyro.nn import PyroModule, pyro_method
from torch import Tensor

from ppgen.arguments import check_arguments
from ppgen.errors import UsageError
from ppgen.pairs.parameters import owner

__all__ = ["Pair", "check_density", "check_explicit"]


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


class Pair(PyroModule, metaclass=_PairMeta):  # type: ignore[metaclass]  # type(PyroModule) is not seen
    """A generative model p(x, z) and its guide q(z | x).

    ``model(*batch)`` and ``guide(*batch)`` have the same signature and the same latent site names. Whatever belongs
    to one datum stands under ``with self.data_plate(x):``; what stands outside it is a global latent. Parameters are
    the module's own: no decorators, no ``pyro.module``, no names for the param store. Pyro's ``SVI``, ``Predictive``
    and ``ELBO`` classes take ``pair.model`` and ``pair.guide`` as they are; sampling is
    ``poutine.uncondition(pair.model)``.

    Args:
        data_size: N, the number of training data, for the scale N / B of a minibatch; None: a batch is all the data.

    To add one: 1. copy ``models/autoencoders/vae.py`` and write its mathematics at the top; 2. build networks in
    ``__init__``; 3. write ``model`` and ``guide``; 4. decorate with ``@register_model`` (give it a ``tiny`` case),
    export it from ``models/__init__.py``, and run ``ppgen check NAME --data digits``.
    """

    plate_name: str = "data"
    """The name that :meth:`data_plate` opens; the engine finds the data plate by it, or by what it holds."""
    plate_required: bool = False
    """Whether a pair without a plate of that name is refused: its user named it."""
    vectorized: bool | None = None
    """Whether K particles may be run together, under a plate; None: found out by comparing."""
    normalised: ClassVar[bool] = True
    """Whether the model is a density; False for one that is known up to a constant (:mod:`ppgen.pairs.energy`)."""
    exact_guide: ClassVar[bool] = False
    """Whether the guide is p(z | x) whatever the parameters, so that all particles of a datum weigh the same."""
    implicit: ClassVar[bool] = False
    """Whether the model states no density of x, only how it is drawn (a GAN's generator: x is a Delta at G(z))."""
    origin: dict[str, Any] | None = None
    """The name and options it was made from, when ``make_pair`` made it."""

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

    def prepare(self, *batch: Any, **options: Any) -> None:
        """Create what only a first batch can tell (the parameters of a pair of functions); most pairs need nothing."""


def check_density(model: Callable[..., Any], needed_by: str) -> None:
    """The model is a density, not known up to a constant only, nor by its draws alone.

    Raises:
        UsageError: it belongs to an unnormalised or to an implicit pair.
    """
    pair = owner(model)
    check_explicit(pair, needed_by)
    if isinstance(pair, Pair) and not pair.normalised:
        raise UsageError(
            f"{needed_by} needs a normalised model, and {type(pair).__name__} is unnormalised: log p(x, z) is known up "
            "to a constant that training would raise without end; choose an objective for energy-based pairs, 'pcd'."
        )


def check_explicit(pair: Any, needed_by: str) -> None:
    """The pair states a density of x.

    Raises:
        UsageError: it is implicit.
    """
    if getattr(pair, "implicit", False):
        raise UsageError(
            f"{needed_by} needs a density of x, and {type(pair).__name__} is implicit: it states how x is drawn and no "
            "p(x | z), so that log-weights and bounds do not exist; train it with an objective that reads samples, "
            "such as 'nonsaturating', and judge it by its samples."
        )
