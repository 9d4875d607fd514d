"""A run read back from its directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ppgen.arguments import one_of
from ppgen.data import Dataset, DataSpec, as_dataset, load_data, named_loader
from ppgen.errors import UsageError, first_sentence, shown, spelled
from ppgen.factory import as_given, make_objective, make_pair, model_class
from ppgen.files.checkpoint import read_checkpoint
from ppgen.files.documents import Document, WholeNumber
from ppgen.machine.devices import choose_device
from ppgen.objectives.objective import Objective
from ppgen.pairs.function_pair import as_pair
from ppgen.pairs.pair import Pair
from ppgen.registry import MODELS
from ppgen.runs.config import read_config
from ppgen.runs.directory import CHECKPOINT, METRICS
from ppgen.runs.hub import SCHEME, fetched
from ppgen.runs.run import Run
from ppgen.training.batches import first_batches
from ppgen.training.learner import load_learner, state_of
from ppgen.training.metrics import read_metrics
from ppgen.user_code import execute_files, is_executed

__all__ = ["PARAMETERS", "load"]

PARAMETERS = {"best": "best.", "last": "learner."}
"""Of a run, those of the best validation and those at its end: how their names begin in a checkpoint."""


def load(
    directory: str | Path,
    *,
    pair: Pair | str | None = None,
    data: Any = None,
    objective: Objective | None = None,
    which: str | None = None,
    device: str = "auto",
) -> Run:
    """A run from its directory, ready to evaluate, sample and report. Registered names only are built.

    Args:
        directory: of the run; or ``hf://user/name``, of one on a hub (:mod:`ppgen.runs.hub`), in which nothing is kept.
        pair: for a run whose model is not registered, or was made of classes and the like: the pair, made as it was, or
            ``file.py:Class`` again.
        data: for a run on data of one's own: the data, as they were given to ``fit``; of a run on a file, a folder or
            ``file.py:function``: where it is now. A function's file is executed only if it is named here, or is that of
            the pair.
        objective: for a run whose objective was given a module or a function: the objective, made as it was.
        which: ``"best"``, the parameters of the best validation (the mean of the last ``window``, see
            :class:`~ppgen.training.options.TrainingOptions`), or ``"last"``, those at the end; None: those that ``fit``
            left in the pair, the best where there was a ``patience``. What is found of others is not kept in the run.
        device: where to put pair and data.

    Raises:
        UsageError: no run there; a file missing, truncated or edited; parameters that do not fit the model; data of
            another shape than the training data; the best are asked for, and the run has kept none.
    """
    hub = str(directory).startswith(SCHEME)
    folder = fetched(str(directory)) if hub else Path(directory)
    config = read_config(folder)
    tensors, facts = read_checkpoint(folder / CHECKPOINT, _Stands)
    usual, which = _which(config, tensors, which, folder)
    place = choose_device(device)
    execute_files(*(name for name in (pair, data) if isinstance(name, str)))
    data = _load_data(config, data).to(place)
    _check_datum(config, data)
    rebuilt = _rebuild(config, pair).to(place)
    options = config["training"]
    batch, *_ = first_batches(rebuilt, data, options.get("batch_size", 2), options.get("seed", 0))
    objective = _made_again(config["objective"]) if objective is None else objective
    stage = _stage(objective, rebuilt, facts.stage)
    load_learner(rebuilt, stage, tensors, batch, PARAMETERS[which])
    state = {name: value.to(place) for name, value in state_of(tensors).items()}
    lines = read_metrics(folder / METRICS)
    return Run(rebuilt, data, objective, config, lines, folder, state, stage, writes=which == usual and not hub)


class _Stands(Document):
    """Of a checkpoint's facts, the stage that it stands in."""

    stage: WholeNumber = 0


def _stage(objective: Objective, pair: Pair, number: int) -> Objective:
    """The objective of a stage.

    Raises:
        UsageError: there are fewer.
    """
    stages = objective.stages(pair)
    if number >= len(stages):
        raise UsageError(
            f"the run's checkpoint stands in stage {number + 1}, and {objective} has {len(stages)}: restore it, or "
            "load it with the objective that it was trained with."
        )
    return stages[number].objective


def _which(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], asked: str | None, folder: Path
) -> tuple[str, str]:
    """The parameters that training left in the pair, and those that are asked for."""
    has_best = any(name.startswith(PARAMETERS["best"]) for name in tensors)
    usual = "best" if has_best and config["training"].get("patience") is not None else "last"
    if asked is not None:
        one_of("which parameters: expected a name, got", asked, PARAMETERS)
    if asked == "best" and not has_best:
        raise UsageError(
            f"the run in {folder} has kept no best parameters: nothing was held out to judge them by, or it was not "
            "validated yet, or an earlier version of ppgen wrote it: take the last ones."
        )
    return usual, asked or usual


def _rebuild(config: Mapping[str, Any], pair: Pair | str | None) -> Pair:
    name, options = config["model"].get("name"), config["model"]["options"]
    if pair is not None and not isinstance(pair, str):
        return as_pair(pair)
    if pair is None and (name is None or name not in MODELS):
        again = spelled("name its file again (--model path/to/file.py:Class)", "give it again, pair=...")
        raise UsageError(
            f"this run's model is {shown(name or config['model'].get('class'))}, which is not a registered name, or "
            f"was given more than config.json can hold: {again}."
        )
    name = pair or name
    return make_pair(name, DataSpec.from_json(config["spec"]), **as_given(model_class(name), options))


def _made_again(config: Mapping[str, Any]) -> Objective:
    try:
        if not is_executed(name := str(config.get("name"))):
            raise UsageError(f"it is {name}, and a Python file is executed only if you name it yourself")
        return make_objective(name, **config["options"])
    except UsageError as error:
        raise UsageError(
            f"the run's objective cannot be made of config.json: {first_sentence(error)}; give it again, "
            "ppgen.load(directory, objective=...)."
        ) from error


def _load_data(config: Mapping[str, Any], given: Any) -> Dataset:
    """The data of a run: those that are given, or those of its name and options, at the place that is given."""
    name, options = config["data"].get("name"), config["data"].get("options", {})
    if name is None or not (given is None or isinstance(given, str | Path)):
        if given is None:
            raise UsageError(
                "this run was trained on tensors of your own: give them again, ppgen.load(directory, data=...)."
            )
        return as_dataset(given)
    if given is not None:
        spec, place = named_loader(str(given))
        kept = _of_table(config) if spec.name == name == "table" else {}
        return load_data(str(given), **as_given(spec.cls, options) | kept | place)
    if not is_executed(name):
        raise UsageError(
            f"this run's data are {name}, and a Python file is executed only if you name it yourself: "
            f"{spelled(f'--data {name}', f'ppgen.load(directory, data={name!r})')}."
        )
    return load_data(name, **options)


def _of_table(config: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked of another table: the columns of the run's, in their order and of their kinds."""
    spec, target = DataSpec.from_json(config["spec"]), config["data"].get("options", {}).get("target")
    columns = [column for column in config["data"].get("kinds", {}) if column != str(target)]
    if not columns:
        return {}
    kinds = {column.name: list(column.categories) or column.kind for column in spec.columns or ()}
    return {"columns": columns, "kinds": kinds or None, "observation": spec.observation}


def _check_datum(config: Mapping[str, Any], data: Dataset) -> None:
    """The data have the features that the pair was made for: those of a file or of a library may have changed."""
    was, now = config["spec"].get("shape"), data.spec.to_json()["shape"]
    if was is not None and now is not None and was != now:
        raise UsageError(
            f"the run was trained on data of shape {tuple(was)} each, and these are {tuple(now)}: give it the data it "
            "was trained on, or train again."
        )
    target = str(config["data"].get("options", {}).get("target"))
    was, now = (kinds.get(target) for kinds in (config["data"].get("kinds", {}), data.kinds))
    if was is not None and now is not None and was != now:
        raise UsageError(
            f"the run's target {shown(target)} is {was}, and that of data {shown(data.spec.name)} is {now}: give it "
            "data of the same classes."
        )
    was, now = config["spec"].get("num_features"), data.spec.num_features
    if was != now:
        raise UsageError(
            f"the run was trained on data of {was} features, and data {shown(data.spec.name)} have {now}: give it the "
            "data it was trained on, or train again."
        )
