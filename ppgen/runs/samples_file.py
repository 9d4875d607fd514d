"""Samples of a run's model, and where its guide puts data, in a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ppgen.arguments import at_least
from ppgen.data.dataset import SPLITS
from ppgen.data.given import as_dataset
from ppgen.draws.embedding import Embedding
from ppgen.draws.samples import Draws, conditions
from ppgen.files.tables import as_csv, as_npz, as_parquet, write_as
from ppgen.pages.look import look_of
from ppgen.pairs.rows import take_rows

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["save_completions", "save_embedding", "save_samples"]


def save_samples(run: Run, num_samples: int, path: str | Path, *, seed: int = 0) -> Draws:
    """Draw from the run's model and write it; the suffix of ``path`` says as what. The draws are returned, too.

    An energy-based pair is drawn from by its chains, which begin where the run's persistent chains stand.

    ``.png``: for images the means of p(x | z), in a grid; for other data the draws, as cells,
    or as lines or points beside test data.
    ``.csv``: a draw of x a line, below a header (the words, of counts; the columns, of a table, whose categories stand
    by their names). ``.npz``: arrays ``x``
    and ``mean``. Labels go along as ``y``. What was standardised is in the units that it was given in.

    Raises:
        UsageError: num_samples < 1, another suffix, or a place that cannot be written.
    """

    labels = {} if run.data.spec.num_classes is None else {"y": conditions(run.data, max(1, num_samples))[1]}
    draw = cache(lambda: run.sample(num_samples, seed=seed))
    _write(run, path, draw, labels)
    return draw()


def save_completions(run: Run, of: str, num_samples: int, path: str | Path, *, seed: int = 0) -> int:
    """Draw the lower halves of pictures given the upper ones, and write the whole as :func:`save_samples` does.

    Args:
        run: of a pair that draws one feature after another.
        of: the split that the pictures are of, or a file of them that :func:`ppgen.data.as_dataset` reads.
        num_samples: how many, at most; how many there were is returned.
        path: of the file to write.
        seed: seeds the draws.

    Raises:
        UsageError: as :meth:`ppgen.Run.complete` and :func:`save_samples`.
    """
    at_least("the number of samples", num_samples, 1)
    batch = run.data.rows(of) if of in SPLITS else as_dataset(of, name=of).train
    drawn = run.complete(take_rows(batch, slice(num_samples)), seed=seed)
    _write(run, path, lambda: Draws(drawn, drawn), {})
    return len(drawn)


def _write(run: Run, path: str | Path, draw: Callable[[], Draws], labels: Mapping[str, Tensor]) -> None:
    """Draws of x, in the form that the suffix says."""

    def png() -> bytes:
        look, draws = look_of(run.data), draw()
        return look.file(draws.mean if look.means else draws.x)

    def columns() -> dict[str, NDArray[Any]]:
        draws = draw()
        x, mean = (run.data.in_units(part) for part in (draws.x, draws.mean))
        return {name: value.cpu().numpy() for name, value in {"x": x, "mean": mean, **labels}.items()}

    def csv() -> bytes:
        names, values = run.data.as_columns(draw().x)
        beside = [label.cpu().numpy() for label in labels.values()]
        return as_csv([*names, *labels], np.column_stack([*values, *beside]))

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
