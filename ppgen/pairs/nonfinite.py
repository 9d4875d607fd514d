"""Where a number that is not finite first arose: a program is run under a watch, which looks at every site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyro
import torch
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from ppgen.distributions.wrappers import core_of
from ppgen.errors import shown
from ppgen.pairs.parameters import isolated, kept_buffers, owner
from ppgen.pairs.sampling import unconditioned
from ppgen.pairs.sites import is_point, raw_log_prob
from ppgen.pairs.structure import handled
from ppgen.pairs.tracing import Batch, Program, run_particles
from ppgen.pairs.transformed import NO_INVERSE

__all__ = ["ALL_FINITE", "Watch", "first_nonfinite"]

ALL_FINITE = "the loss is not finite, though every site of the pair is"


class Watch:
    """Looks at every site of the programs that run :meth:`over` it.

    ``first``: a sentence on the first site whose value or log-probability is not finite, in the order in which they
    run, with the parameter of its distribution that is not; empty: there is none. An implicit pair's model, which
    states no density, is judged by its draws.
    """

    def __init__(self) -> None:
        self.first = ""

    def over(self, program: Program) -> Program:
        """The same program, watched."""
        return replace(
            program, model=self._watched(program.model, "model"), guide=self._watched(program.guide, "guide")
        )

    def _watched(self, function: Callable[..., Any], kind: str) -> Callable[..., Any]:
        return handled(_Sites(self, kind, bool(getattr(owner(function), "implicit", False))), function)


class _Sites(Messenger):
    """Tells the watch of the first site that is not finite."""

    def __init__(self, watch: Watch, kind: str, implicit: bool) -> None:
        super().__init__()
        self.watch, self.kind, self.implicit = watch, kind, implicit

    def _pyro_post_sample(self, msg: Any) -> None:
        if self.watch.first or site_is_subsample(msg) or not torch.is_tensor(msg["value"]):
            return
        with torch.no_grad():
            what = "" if _finite(msg["value"]) else "value"
            what = what or ("" if self.implicit or _has_finite_log_prob(msg) else "log-probability")
            cause = _cause(msg) if what else ""
        if what:
            self.watch.first = f"the {what} of site {shown(msg['name'])} of the {self.kind} is not finite{cause}"


def first_nonfinite(program: Program, batch: Batch) -> str:
    """What :class:`Watch` says of one particle of a program; :data:`ALL_FINITE` where there is no such site.

    >>> import ppgen
    >>> pair = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real"))
    >>> _ = torch.nn.init.constant_(pair.log_noise, torch.inf)
    >>> first_nonfinite(Program(pair.model, pair.guide), (torch.zeros(4, 3),))
    "the log-probability of site 'x' of the model is not finite (its scale is not)"
    """
    watch = Watch()
    watched = watch.over(program)
    still = kept_buffers(program.model, program.guide)
    with torch.no_grad(), isolated(), pyro.validation_enabled(False), still:
        if getattr(owner(program.model), "implicit", False):
            unconditioned(watched.model, batch)
        else:
            run_particles(watched, batch, 1)
    return watch.first or ALL_FINITE


def _has_finite_log_prob(site: Any) -> bool:
    try:
        return _finite(scale_and_mask(raw_log_prob(site), mask=site["mask"]))
    except NO_INVERSE:  # a flow without one is not scored at what it did not draw
        return True


def _cause(site: Any) -> str:
    """Which parameter of the site's distribution is not finite."""
    fn = core_of(site["fn"])
    names = [] if is_point(site) else [n for n in fn.arg_constraints if n in vars(fn) and torch.is_tensor(vars(fn)[n])]
    broken = next((name for name in names if not _finite(vars(fn)[name])), None)
    return f" (its {broken} is not)" if broken else ""


def _finite(value: Any) -> bool:
    return bool(torch.isfinite(torch.as_tensor(value)).all())
