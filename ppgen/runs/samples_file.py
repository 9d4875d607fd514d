"""Samples of a run's model, and where its guide puts data, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ppgen.draws.embedding import Embedding
from ppgen.draws.samples import conditions
from ppgen.files.tables import as_csv, as_npz, as_parquet, write_as
from ppgen.pages.look import look_of

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["save_embedding", "save_samples"]


def save_samples(run: Run, num_samples: int, path: str | Path, *, seed: int = 0) -> None:
    """Draw from the run's model and write it; the suffix of ``path`` says as what.

    An energy-based pair is drawn from by its chains, which begin where the run's persistent chains stand.

    ``.png``: for images the means of p(x | z), in a grid; for other data the draws, as cells,
    or as lines or points beside test data.
    ``.csv``: a draw of x a line, below a header (the words, of counts; the columns, of a table, whose categories stand
    by their names). ``.npz``: arrays ``x``
    and ``mean``. Labels go along as ``y``. What was standardised is in the units that it was given in.

    Raises:
        UsageError: num_samples < 1, another suffix, or a place that cannot be written.
    """

    def png() -> bytes:
        look, draws = look_of(run.data), run.sample(num_samples, seed=seed)
        return look.file(draws.mean if look.means else draws.x)

    def labels() -> dict[str, NDArray[Any]]:
        return {} if run.data.spec.num_classes is None else {"y": conditions(run.data, num_samples)[1].cpu().numpy()}

    def columns() -> dict[str, NDArray[Any]]:
        draws = run.sample(num_samples, seed=seed)
        x, mean = (run.data.in_units(part).cpu().numpy() for part in (draws.x, draws.mean))
        return {"x": x, "mean": mean, **labels()}

    def csv() -> bytes:
        names, values = run.data.as_columns(run.sample(num_samples, seed=seed).x)
        return as_csv([*names, *labels()], np.column_stack([*values, *labels().values()]))

    write_as(path, {".png": png, ".csv": csv, ".npz": lambda: as_npz(columns())}, "samples")


def save_embedding(
    run: Run,
    path: str | Path,
    *,
    split: str | None = None,
    num_particles: int = 100,
    seed: int = 0,
    progress: bool = False,
) -> Embedding:
    """Write the mean latents of a split's data (:func:`ppgen.draws.embedding`); the suffix of ``path`` says as what.

    ``.csv`` and ``.parquet``: a datum a line, a column for each of the names. ``.npz``: arrays ``z`` (N, F) and
    ``names``. Labels go along as ``y``.

    Raises:
        UsageError: the pair has nothing to embed, there is no such split, another suffix, or a place that cannot be
            written.
    """
    found = run.embed(split, num_particles=num_particles, seed=seed, progress=progress)
    z, batch = found.values.cpu().numpy(), run.data.rows(split or run.data.last_split)
    labels = {} if run.data.spec.num_classes is None or len(batch) < 2 else {"y": batch[1].cpu().numpy()}
    names, table = [*found.names, *labels], np.column_stack([z, *labels.values()])
    arrays = {"z": z, "names": np.array(found.names), **labels}
    contents = {
        ".npz": lambda: as_npz(arrays),
        ".csv": lambda: as_csv(names, table),
        ".parquet": lambda: as_parquet(names, table),
    }
    write_as(path, contents, "embeddings")
    return found
