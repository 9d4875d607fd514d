"""One run of a model or a guide, as the sites that it draws, scores or observes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyro import poutine
from pyro.poutine.uncondition_messenger import UnconditionMessenger

from ppgen.pairs.plates import with_sizes
from ppgen.pairs.sites import Site, is_computed

__all__ = ["sites_of", "unobserved"]


def sites_of(function: Callable[..., Any], *batch: Any) -> dict[str, Site]:
    """The sample sites of one run by name, in its order; plates that were opened without a size have one."""
    with poutine.trace() as tracer:
        function(*batch)
    return with_sizes({name: site for name, site in tracer.trace.nodes.items() if site["type"] == "sample"})


def unobserved(model: Callable[..., Any]) -> Callable[..., Any]:
    """The model with nothing observed: what it observes is drawn, and what it computes (``pyro.deterministic``) stays.

    It is the innermost handler, so that what it lets be drawn may still be given.
    """

    def run(*batch: Any) -> None:
        with _Unobserved():
            model(*batch)

    return run


class _Unobserved(UnconditionMessenger):
    def _pyro_sample(self, msg: Any) -> None:
        if not is_computed(msg):
            super()._pyro_sample(msg)
