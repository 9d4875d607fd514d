"""The one module that touches ArviZ, 0.23: tensors in, its numbers, tables and InferenceData out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppgen.errors import UsageError, shown
from ppgen.posterior.variables import Variable

__all__ = [
    "compare_elpd",
    "convergence_of",
    "elpd_data",
    "inference_data",
    "loo_data",
    "netcdf",
    "pareto_k_of",
    "smoothed_log_weights",
]

Names = Mapping[str, Sequence[Any]]

_DRAWS = ("chain", "draw")
"""Names of the first dims of all draws."""


def pareto_k_of(log_w: Tensor) -> Tensor:
    """The Pareto k-hat of the log-weights of each datum, (K, B) to (B,), float64, by ArviZ's ``psislw``."""
    return smoothed_log_weights(log_w)[1]


def smoothed_log_weights(log_w: Tensor) -> tuple[Tensor, Tensor]:
    """Log-weights (K, B) normalised over K, their largest smoothed, and their k-hat (B,); both float64."""
    with np.errstate(over="ignore"):  # in the profile of the fit, where an infinity is meant
        smoothed, k = _arviz().psislw(log_w.detach().cpu().double().T.numpy())
    return torch.as_tensor(smoothed.T.copy(), device=log_w.device), torch.as_tensor(k, device=log_w.device)


def convergence_of(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Rank-normalised split R-hat and bulk effective sample size of chains (C, S, F): (F,), (F,), float64.

    Infinite or NaN R-hat where no chain moves.
    """
    arrays = {"z": draws.detach().cpu().double().numpy()}
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (_arviz().rhat(arrays), _arviz().ess(arrays, method="bulk"))
    r_hat, size = (torch.as_tensor(table["z"].values.copy(), dtype=torch.float64) for table in found)
    return r_hat, size


def inference_data(
    groups: Mapping[str, Mapping[str, Variable]],
    chains: int,
    attrs: Mapping[str, Any],
    *,
    coords: Names | None = None,
    dims: Names | None = None,
) -> Any:
    """An ``arviz.InferenceData`` of variables by site, by ArviZ's names of groups; empty groups are left out.

    Args:
        groups: as they shall stand; the draws of ``prior`` and ``prior_predictive`` are of one chain.
        chains: how many the other groups' draws come from, one after another.
        attrs: of the whole and of every group.
        coords: of dims by their names; those of plates are 0, 1, ... unless given.
        dims: names for the dims of a site that are no plate's; ``<site>_dim_<i>`` unless given.

    Names that xarray and netCDF cannot hold are changed: a ``/`` becomes a dot, and a site (or plate) that is called
    ``chain``, ``draw`` or like a plate gets an underscore at its end; the variable's attribute ``site`` has its own.

    Raises:
        UsageError: other than one name is given for each of a site's dims.
    """
    datasets = {}
    taken = {*_DRAWS, *(plate for group in groups.values() for v in group.values() for plate in v.plates.values())}
    for group, variables in groups.items():
        leading = _leading(group, chains)
        arrays: dict[str, Any] = {}
        names: dict[str, list[str]] = {}
        sites: dict[str, str] = {}
        for site, variable in variables.items():
            values, plates = variable.squeezed()
            array = values.detach().cpu().numpy()
            name = _free_name(site, taken)
            arrays[name] = array.reshape((*leading, *array.shape[1:]))
            names[name] = _dim_names(site, name, plates, dims or {})
            sites[name] = site
        if arrays:
            default = list(_DRAWS[: len(leading)])
            made = _arviz().dict_to_dataset(arrays, coords=coords, dims=names, attrs=dict(attrs), default_dims=default)
            for name, site in sites.items():
                made[name].attrs |= {"site": site} if site != name else {}
            datasets[group] = made
    return _arviz().InferenceData(attrs=dict(attrs), **datasets)


def loo_data(log_likelihood: Tensor) -> Any:
    """``az.loo``'s ``ELPDData`` of log p(x_n | g_s), (S, B), nats, with its values datum by datum."""
    variable = {"x": Variable(log_likelihood, plates={-1: "data"})}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Estimated shape parameter of Pareto distribution")  # it is reported
        return _arviz().loo(inference_data({"log_likelihood": variable}, 1, {}), pointwise=True, reff=1.0)


def elpd_data(log_p: Tensor, k: Tensor, num_samples: int, good_k: float) -> Any:
    """``ELPDData`` of log-densities (B,) of held-out data, nats, and the k-hat (B,) of the weights they are means of.

    Nothing is left out of anything that was fitted: ``p_loo`` is 0.
    """
    from arviz.stats.stats_utils import ELPDData
    from xarray import DataArray

    values, shapes = (DataArray(t.detach().cpu().double().numpy(), dims=["data"]) for t in (log_p, k))
    entries = {
        "elpd_loo": float(values.sum()),
        "se": float(np.sqrt(len(log_p) * values.var())),
        "p_loo": 0.0,
        "n_samples": num_samples,
        "n_data_points": len(log_p),
        "warning": bool((shapes > good_k).any()),
        "loo_i": values.rename("loo_i"),
        "pareto_k": shapes.rename("pareto_shape"),
        "scale": "log",
        "good_k": good_k,
    }
    return ELPDData(data=list(entries.values()), index=list(entries))


def compare_elpd(found: Mapping[str, Any]) -> Any:
    """``az.compare`` of ``ELPDData`` by name, a pandas table."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The inplace keyword in DataFrame")  # pandas 3.1 of ArviZ 0.23
        return _arviz().compare(dict(found))


def netcdf(data: Any) -> bytes:
    """An InferenceData as a netCDF file, made in memory: HDF5 does not survive a disk that fills as it writes."""
    import h5netcdf
    from xarray import Dataset
    from xarray.backends import H5NetCDFStore

    buffer = BytesIO()
    with h5netcdf.File(buffer, "w") as file:
        for name, group in {"/": Dataset(attrs=data.attrs), **{name: data[name] for name in data.groups()}}.items():
            numbers = [key for key, variable in group.variables.items() if variable.dtype.kind in "biuf"]
            store = H5NetCDFStore(file if name == "/" else file.create_group(name))
            group.dump_to_store(store, encoding={key: {"zlib": True} for key in numbers})
    return buffer.getvalue()


def _leading(group: str, chains: int) -> tuple[int, ...]:
    """What the first dim of a group's arrays becomes."""
    if group == "observed_data":
        return ()
    return (1, -1) if group.startswith("prior") else (chains, -1)


def _free_name(site: str, taken: set[str]) -> str:
    """A site's name, as a variable that is no dim can have it."""
    name = site.replace("/", ".")
    while name in taken:
        name += "_"
    return name


def _dim_names(site: str, name: str, plates: Sequence[str | None], dims: Names) -> list[str]:
    unnamed = plates.count(None)
    given = dims.get(site, [f"{name}_dim_{index}" for index in range(unnamed)])
    if unnamed and len(given) != unnamed:
        raise UsageError(
            f"site {shown(site)} has {unnamed} dims that are no plate's, got {len(given)} names for them: {given}."
        )
    names = iter(given)
    return [next(names) if plate is None else _free_name(plate, {*_DRAWS}) for plate in plates]


def _arviz() -> ModuleType:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="\\s*ArviZ is undergoing a major refactor", category=FutureWarning)
        import arviz
    return arviz
