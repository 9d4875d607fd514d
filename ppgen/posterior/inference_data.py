"""``to_inference_data``: what a guide or MCMC makes of data, as an ``arviz.InferenceData``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatch
from pathlib import Path
from typing import Any

from pyro.infer import MCMC, SVI

from ppgen.errors import UsageError
from ppgen.files.writing import write_whole
from ppgen.machine.entry import entry_point
from ppgen.pairs.function_pair import as_pair, pair_from
from ppgen.pairs.looking import seeded
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import owner
from ppgen.pairs.places import as_batch, brought_to
from ppgen.pairs.tracing import Batch
from ppgen.posterior.arviz_bridge import inference_data, netcdf
from ppgen.posterior.groups import Groups, guide_groups, mcmc_groups, numbers_of_a_draw
from ppgen.versions import versions

__all__ = ["POSTERIOR", "to_inference_data", "write_posterior"]

POSTERIOR = "posterior.nc"

_SAMPLES = 500

_FILE = 2**25
"""Numbers in a file, at most."""


@entry_point
def to_inference_data(
    source: Any,
    batch: tuple[Any, ...] | None = None,
    *,
    num_samples: int | None = None,
    resampled_from: int | None = None,
    data_plate: str | None = None,
    coords: Mapping[str, Sequence[Any]] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    attrs: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Any:
    """Draws of the posterior, its predictive, the prior and its predictive, and log-likelihoods, for ArviZ.

    Groups: ``posterior`` (latents of each datum and of the whole, and ``pyro.deterministic`` sites),
    ``posterior_predictive``, ``prior``, ``prior_predictive``, ``log_likelihood`` (log p(x | z) of each observed site,
    nats, not scaled), ``observed_data``, ``sample_stats``. Dims are named by plates. Each group's attributes say what
    the draws are (``draws``: ``guide``, ``importance-resampled`` or ``mcmc``) and the versions that made them. An
    implicit pair has prior, prior predictive and observed data alone; an unnormalised one, posterior and sample stats.

    ``sample_stats`` of a guide: ``log_weight``, nats, of each datum given the latents outside the data plate (one for
    all where there is no such plate), and ``log_weight_global`` of those latents; the log-weight of a draw of
    everything is their sum over data. Draws of a guide are independent: R-hat and ESS say nothing of whether the guide
    is the posterior. Of MCMC: ``diverging``.

    Args:
        source: a pair, any module with ``model`` and ``guide``, a ``pyro.infer.SVI`` with any guide, or a
            ``pyro.infer.MCMC`` that was run.
        batch: the arguments of model and guide, ``(x,)``, ``(x, y)``, ...; None: those that MCMC was run with.
        num_samples: draws of a guide; None: 500. Of MCMC all draws are taken.
        resampled_from: draw so many of the guide, and of them ``num_samples`` by their Pareto-smoothed weights; the
            draws are marked, ``sample_stats`` says which of the candidates each one is, and its attributes hold the
            ``pareto_k`` of the weights. None: the guide's draws as they are.
        data_plate: name of the plate whose elements are the data, where ``source`` is an SVI of functions; None: it is
            found, as by :func:`ppgen.pair_from`.
        coords: of dims by their names; those of plates are 0, 1, ... unless given.
        dims: names for the dims of a site that are no plate's.
        attrs: attributes beside those above: numbers and texts.
        seed: seeds the draws; the global random state is left as it was.
        progress: show progress bars.

    Raises:
        UsageError: ``source`` is none of these; no batch; a number of draws is not positive, or is given for MCMC;
            resampling of an implicit pair, or of latents outside the plate of a batch that is not all data; guide and
            model disagree (the site is named).
    """
    with seeded(seed):
        groups = _groups(source, batch, data_plate, num_samples, resampled_from, progress)
    every = {**_attributes(groups), **(attrs or {})}
    return inference_data(groups.variables, groups.chains, every, coords=coords, dims=dims)


def write_posterior(pair: Any, batch: Batch, path: str | Path, **options: Any) -> Path:
    """Write :func:`to_inference_data` of a pair at a batch as a netCDF file, whole, and return where it is.

    Args:
        pair: as there.
        batch: as there.
        path: of the file; ``posterior.nc`` in a run's directory.
        options: of :func:`to_inference_data`; ``num_samples`` None: 500, or fewer where the file would hold more than
            33 million numbers.

    Raises:
        UsageError: as there, or the file cannot be written.
    """
    target, pair, batch = Path(path), as_pair(pair), as_batch(batch)
    if options.get("num_samples") is None:
        numbers = max(1, numbers_of_a_draw(pair, brought_to(pair, batch)))  # of weights alone, where nothing is drawn
        options["num_samples"] = max(1, min(_SAMPLES, _FILE // numbers))
    write_whole(target, netcdf(to_inference_data(pair, batch, **options)))
    return target


@singledispatch
def _groups(source: Any, batch: Batch | None, plate: str | None, num: int | None, of: int | None, bar: bool) -> Groups:
    """``num`` draws, resampled from ``of``; of a pair."""
    pair = as_pair(source)
    if batch is None:
        raise UsageError(f"expected the batch that {type(source).__name__} is run at, got none: give (x,) or (x, y).")
    return guide_groups(pair, brought_to(source, as_batch(batch)), _SAMPLES if num is None else num, of, progress=bar)


@_groups.register
def _of_svi(source: SVI, batch: Batch | None, plate: str | None, *options: Any) -> Groups:
    pair = owner(source.model)
    if not isinstance(pair, Pair) or owner(source.guide) is not pair:
        pair = pair_from(source.model, source.guide, data_plate=plate)
    return _groups(pair, batch, plate, *options)


@_groups.register
def _of_mcmc(
    source: MCMC, batch: Batch | None, plate: str | None, num: int | None, of: int | None, bar: bool
) -> Groups:
    if num is not None or of is not None:
        raise UsageError("num_samples and resampled_from are for draws of a guide: of MCMC all draws are taken.")
    arguments, options = (source._args, source._kwargs) if batch is None else (batch, {})
    return mcmc_groups(source, arguments or (), options or {}, progress=bar)


def _attributes(groups: Groups) -> dict[str, Any]:
    found = versions()
    library = {"inference_library": "ppgen", "inference_library_version": found["ppgen"]}
    beneath = {"pyro_version": found["pyro"], "torch_version": found["torch"]}
    return {**library, **beneath, "draws": groups.kind, **groups.facts}
