"""The arguments and options that commands share, and how their text is read."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ppgen.data import Dataset
from ppgen.errors import UsageError, shown
from ppgen.machine.engines import ENGINES
from ppgen.pairs.pair import Pair
from ppgen.registry import DATA, MODELS, OBJECTIVES, Registry
from ppgen.runs.job import named_data, named_pair
from ppgen.runs.load import PARAMETERS
from ppgen.training.optimizers import Optimizer
from ppgen.training.rates import CURVES, NAMES

__all__ = [
    "AsJson",
    "DataAgain",
    "DataMoved",
    "DataName",
    "DataOrNone",
    "DataSettings",
    "Device",
    "Engines",
    "ModelAgain",
    "ModelName",
    "ModelOrNone",
    "ModelSettings",
    "ObjectiveSettings",
    "OptimizerName",
    "OptimizerOrNone",
    "RunFolder",
    "Schedule",
    "ScheduleOrNone",
    "Threads",
    "Which",
    "Workers",
    "complete_objective",
    "complete_objectives",
    "load_pair_and_data",
    "settings",
    "short_name",
]

Completion = Callable[..., list[tuple[str, str]]]


def settings(flag: str, texts: Sequence[str] | None) -> dict[str, Any]:
    """``["hidden=[200, 200]", "binarize=none"]`` as a dict: values are Python literals, anything else is a string.

    Raises:
        UsageError: a text is not ``key=value``, or a key comes twice.

    >>> settings("-M", ["hidden=[200, 200]", "binarize=none", "beta=4.0"])
    {'hidden': [200, 200], 'binarize': 'none', 'beta': 4.0}
    """
    found: dict[str, Any] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"{flag} expects key=value, got {shown(text)}: write for example {flag} latent_dim=20.")
        if key in found:
            raise UsageError(
                f"{flag} {key[:80]} is given twice, as {shown(found[key])} and as {shown(value)}: give one."
            )
        found[key] = _literal(value)
    return found


def short_name(name: str) -> str:
    """A model's or a data set's name for a folder or a title: of a path its last part without suffix.

    >>> short_name("20news"), short_name("my/data.csv"), short_name("my.py:Mine")
    ('20news', 'data', 'Mine')
    """
    return Path(name.rpartition(":")[2]).stem


def load_pair_and_data(
    model: str, data: str, model_settings: Sequence[str] | None, data_settings: Sequence[str] | None
) -> tuple[Pair, Dataset]:
    """The pair and the data set that were named; labels are asked for where the model takes them."""
    options = settings("-M", model_settings)
    loaded = named_data(data, settings("-D", data_settings), model, options)
    return named_pair(model, options, loaded), loaded


def _literal(text: str) -> Any:
    """The value; text that is no literal is itself, and so is what nests too deeply for Python to read."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _names(registry: Registry) -> Completion:
    def complete(incomplete: str) -> list[tuple[str, str]]:
        return [(name, spec.summary) for name, spec in registry.items() if name.startswith(incomplete)]

    return complete


def complete_objective(incomplete: str) -> list[tuple[str, str]]:
    """Completes the name of an objective."""
    return _names(OBJECTIVES)(incomplete)


def complete_objectives(incomplete: str) -> list[tuple[str, str]]:
    """Completes the last name of a list with commas."""
    before, comma, last = incomplete.rpartition(",")
    return [(f"{before}{comma}{name}", summary) for name, summary in _names(OBJECTIVES)(last)]


def _keys(registry: Registry, named_by: str) -> Completion:
    """Completes the options of what ``named_by`` names; of all that is registered while the shell does not say."""

    def complete(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
        name = ctx.params.get(named_by) or ""
        specs = [registry[name]] if name in registry else registry.values()
        keys = {key: value for spec in specs for key, value in spec.options.items()}
        return [(f"{key}=", f"such as {value!r}") for key, value in keys.items() if key.startswith(incomplete)]

    return complete


_MODEL = typer.Argument(
    metavar="MODEL",
    help="A name of `ppgen list models`, or path/to/file.py:Class for a pair of your own.",
    autocompletion=_names(MODELS),
    show_default=False,
)
_DATA = typer.Option(
    "--data",
    metavar="NAME|PATH",
    help="A name of `ppgen list data`, a .csv, .npz or .npy file, a folder of pictures (one for each class) or of .npy "
    "files, or path/to/file.py:function.",
    autocompletion=_names(DATA),
    show_default=False,
)
ModelName = Annotated[str, _MODEL]
ModelOrNone = Annotated[str | None, _MODEL]
DataName = Annotated[str, _DATA]
DataOrNone = Annotated[str | None, _DATA]


def _settings_option(flag: str, whose: str, example: str, complete: Completion) -> Any:
    return typer.Option(
        flag,
        metavar="KEY=VALUE",
        help=f"An option of the {whose}, as often as needed: {flag} {example}. A Python literal, else a string.",
        autocompletion=complete,
        show_default=False,
    )


ModelSettings = Annotated[list[str] | None, _settings_option("-M", "model", "hidden=200,200", _keys(MODELS, "model"))]
ObjectiveSettings = Annotated[
    list[str] | None, _settings_option("-O", "objective", "num_particles=5", _keys(OBJECTIVES, "objective"))
]
DataSettings = Annotated[list[str] | None, _settings_option("-D", "data set", "binarize=none", _keys(DATA, "data"))]
RunFolder = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="The directory that `ppgen train` wrote.", show_default=False),
]
ModelAgain = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="FILE.py:CLASS",
        help="The model's file again, for a run whose model is not a registered one.",
        show_default=False,
    ),
]
DataAgain = Annotated[str | None, _DATA]
DataMoved = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="Where the data are now, or path/to/file.py:function again, for a run on data of your own.",
        show_default=False,
    ),
]
Which = Annotated[
    str | None,
    typer.Option(
        "--which",
        metavar="|".join(PARAMETERS),
        help="The parameters of the best validation, or those at the end of training.",
        autocompletion=lambda: list(PARAMETERS),
        show_default="best for a run with --patience, else last",
    ),
]
Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="auto takes a GPU where there is one.")]
Workers = Annotated[
    int | None,
    typer.Option(help="Trainings at a time, in processes of their own.", show_default="1, in this process"),
]
Threads = Annotated[int | None, typer.Option(help="Threads of a worker.", show_default="1")]
Engines = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="|".join(ENGINES),
        help="Processes of this machine, or a Ray cluster.",
        autocompletion=lambda: list(ENGINES),
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else on standard output.")]


OPTIMIZERS = [kind.__name__ for kind in Optimizer.known]


def _beginning(names: Iterable[str]) -> Callable[[str], list[str]]:
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


_OPTIMIZER = typer.Option(
    "--optimizer",
    metavar="NAME(OPTION=VALUE)",
    help=f"{', '.join(OPTIMIZERS)}, with options of torch.optim's: 'SGD(momentum=0.9)'.",
    autocompletion=_beginning(OPTIMIZERS),
    show_default="Adam",
)
_SCHEDULE = typer.Option(
    metavar="|".join([*CURVES, "NAME(...)"]),
    help="Of the learning rate: cosine falls to zero; others are 'linear(1, 0.1, 1000)', a factor by steps, and "
    "those of torch.optim.lr_scheduler: 'StepLR(step_size=1000)'.",
    autocompletion=_beginning(NAMES),
    show_default="cosine",
)
OptimizerName = Annotated[str, _OPTIMIZER]
OptimizerOrNone = Annotated[str | None, _OPTIMIZER]
Schedule = Annotated[str, _SCHEDULE]
ScheduleOrNone = Annotated[str | None, _SCHEDULE]
