"""Section of the report on training: what every player's loss did, and the objective's value on validation data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from ppgen.pages.charts import Curve, plot_curves
from ppgen.pages.elements import Figure, Section, figure_of
from ppgen.pages.numbers import counted, number
from ppgen.report.parts import name_of_value
from ppgen.training.metrics import evened

if TYPE_CHECKING:
    from ppgen.objectives.objective import Objective
    from ppgen.runs.run import Run

__all__ = ["training"]

_Lines: TypeAlias = Sequence[dict[str, Any]]
"""Reports, as ``metrics.jsonl`` holds them."""


def training(run: Run) -> Section | None:
    """What training reported, and the objective's value on the validation data.

    Of one player against steps and against seconds; of several the loss of each, and what else it reports, against
    steps. Of several stages so of the last, and a figure of each before it.
    """
    reports = [line for line in run.metrics if line["split"] != "choice"]
    if not reports:
        return None
    last = reports[-1]
    stages = [(stage, list(lines)) for stage, lines in groupby(reports, lambda line: line.get("stage", ""))]
    *before, (_, metrics) = stages
    text = (
        f"{counted(last['step'], 'step')}, {number(last['epoch'], 1)} passes over the training data, "
        f"{number(last['seconds'], 1)} seconds, those of compiling the step left out. A point of the training curve is "
        "the mean over the steps since the one before; validation is under fixed random numbers."
    )
    if before:
        ends = [f"{name} to step {lines[-1]['step']}" for name, lines in stages]
        text += f" It was trained in stages, {', '.join(ends)}: the last comes first."
    objectives = {stage.name: stage.objective for stage in run.objective.stages(run.pair)}
    earlier = tuple(figure for name, lines in before for figure in _of_stage(name, lines, objectives.get(name)))
    said, figures = _of_last(run, metrics)
    told, chosen = _choices(run.metrics)
    return Section("Training", " ".join(filter(None, (text, said, told))), (*figures, *chosen, *earlier), group="Fit")


def _choices(metrics: _Lines) -> tuple[str, Sequence[Figure]]:
    """Which of several estimators was played when, and the work of each; nothing of a training that did not choose."""
    found = [line for line in metrics if line["split"] == "choice"]
    if not found:
        return "", ()
    changes = [line for before, line in pairwise([{}, *found]) if line["played"] != before.get("played")]
    played = ", ".join(f"{line['played']} from step {line['step']}" for line in changes)
    names = [key.removeprefix("work/") for key in found[-1] if key.startswith("work/")]
    curves = [_curve(name, found, f"work/{name}", "steps") for name in names]
    rule = "the least root mean square x seconds of a gradient"
    said = f"Of {len(names)} estimators the one with {rule} is played: {played}."
    return said, [_chart(curves, "steps", "root mean square x seconds of a gradient")]


def _of_last(run: Run, metrics: _Lines) -> tuple[str, Sequence[Figure]]:
    """What is to be said of the stage that training stands in, and its figures."""
    players = [player.name for player in run.stage.players()]
    if len(players) > 1:
        each = (_of_player(metrics, name, validated=name == players[0]) for name in players)
        said = filter(None, [_GAME.format(players[0]), *(_won(metrics, name) for name in players)])
        of_each = [figure for figures in each for figure in figures]
        return " ".join(said), [*of_each, *_gradient_norms(metrics, players)]
    progress = [_progress(run, metrics, unit) for unit in ("steps", "seconds")]
    if not any("free_energy" in line for line in metrics):
        return "", progress
    energies = list(_values(metrics, "free_energy", "free energy, nats per datum"))
    if run.stage.measures_fit:
        return _ENERGIES, [*progress, *energies]
    gap = any("energy_gap" in line for line in metrics)
    return f"{_ENERGIES} {_NEGATIVE_PHASE}" if gap else _ENERGIES, [*energies, progress[0]]


def _of_stage(name: str, metrics: _Lines, objective: Objective | None) -> Iterator[Figure]:
    """A figure of an earlier stage: the first of free energy, bound and loss that it reports."""
    key = next(key for key in ("free_energy", "bound", "loss") if any(key in line for line in metrics))
    players = () if objective is None else objective.players()
    whose, unit = (f"{players[0].name} " if len(players) > 1 else "", objective.unit if objective else "")
    told = f"{whose}{key.replace('_', ' ')} in {name}"
    yield from _values(metrics, key, f"{told}, {_in_unit('', unit)}" if unit else told)


def _in_unit(value: str, unit: str) -> str:
    """What stands at the axis of an objective's value."""
    return "nats per datum" if unit == "nats" else f"{value} {unit}".strip()


_ENERGIES = (
    "Free energies are known up to log Z, which moves while the pair trains: what tells is how far validation data lie "
    "above training data, which is overfitting."
)
_NEGATIVE_PHASE = (
    "The loss, the free energy of data less that of chains, is no measure of fit: it is near zero whenever the two "
    "have the same energy."
)

_GAME = (
    "Each player lowers its own loss while the others move, so that a falling loss need not be progress, nor a rising "
    "one harm; validation is of the {} alone."
)


def _progress(run: Run, metrics: _Lines, unit: str) -> Figure:
    """The bound, or the loss of an objective without one, of training and of validation."""
    train, valid = _lines(metrics, "train"), _lines(metrics, "valid")
    keys = [key for key in train[-1] if key.endswith("bound")] or [key for key in train[-1] if key.endswith("loss")]
    value = "bound" if valid and "bound" in valid[-1] else "loss"
    name = name_of_value(run) if value == "bound" else value
    curves = [_curve(f"train {key}", train, key, unit) for key in keys]
    return _chart([*curves, _curve(f"valid {name}", valid, value, unit)], unit, _in_unit(value, run.stage.unit))


def _values(metrics: _Lines, key: str, y_label: str) -> Iterator[Figure]:
    """One number that training and validation both report, against steps."""
    found = {split: [line for line in _lines(metrics, split) if key in line] for split in ("train", "valid")}
    curves = [_curve(split, lines, key, "steps") for split, lines in found.items() if lines]
    if curves:
        yield _chart(curves, "steps", y_label)


def _of_player(metrics: _Lines, player: str, *, validated: bool) -> Iterator[Figure]:
    """The player's loss; below it its outputs at data and at samples, and whatever else it reports, but for the size of
    its gradient."""
    train = [line for line in _lines(metrics, "train") if f"{player}/loss" in line]
    if not train:
        return
    own = [key.removeprefix(f"{player}/") for key in train[-1] if key.startswith(f"{player}/")]
    others = [name for name in own if name not in ("loss", "gradient_norm", "real", "fake")]
    valid = [_curve(f"valid {player} loss", _lines(metrics, "valid"), "loss", "steps")] if validated else []
    curve = _curve(f"train {player} loss", train, f"{player}/loss", "steps")
    yield _chart([curve, *valid], "steps", f"{player} loss per datum")
    yield from _outputs(train, player)
    curves = [_curve(f"{player} {name.replace('_', ' ')}", train, f"{player}/{name}", "steps") for name in others]
    curves = [*_margin(train, player), *(curve for curve in curves if any(curve.y))]
    if curves:
        yield _chart(curves, "steps", curves[0].label if len(curves) == 1 else f"told of the {player}")


def _won(metrics: _Lines, player: str) -> str:
    """That a player tells every draw from data, with a loss of zero, over the last quarter of training; or nothing."""
    told = [
        line for line in metrics if line["split"] == "train" and {f"{player}/real", f"{player}/fake"} <= line.keys()
    ]
    late = told[-max(_LATE, len(told) // 4) :]
    if len(late) < _LATE or not all(
        line[f"{player}/loss"] < _NOTHING and line[f"{player}/real"] - line[f"{player}/fake"] > _APART for line in late
    ):
        return ""
    return _WON.format(player, late[0]["step"])


_LATE = 3
"""Reports, at least, by which a player is said to have won."""

_NOTHING, _APART = 1e-3, 0.5
"""The loss, and by how much its outputs differ, of a player who tells all draws from data."""

_WON = (
    "The {0}'s loss has been zero since step {1}: it tells every draw from data, and there is nothing left in it to "
    "learn from. Give it instance noise (noise=), a penalty (r1=), or a lower rate (critic_rate=), or choose another "
    "loss, 'wasserstein_gp'."
)


def _outputs(train: Sequence[dict[str, Any]], player: str) -> Iterator[Figure]:
    """The mean output of a player that tells data from samples, at each."""
    told = [line for line in train if f"{player}/real" in line and f"{player}/fake" in line]
    if told:
        named = {"real": "at data", "fake": "at samples"}
        curves = [_curve(f"{player} {where}", told, f"{player}/{key}", "steps") for key, where in named.items()]
        yield _chart(curves, "steps", f"output of the {player}")


def _gradient_norms(metrics: _Lines, players: Sequence[str]) -> Iterator[Figure]:
    """The size of each player's gradient."""
    train = _lines(metrics, "train")
    key = "{}/gradient_norm".format
    own = {player: [line for line in train if key(player) in line] for player in players}
    curves = [_curve(f"gradient of the {name}", lines, key(name), "steps") for name, lines in own.items() if lines]
    if curves:
        yield _chart(curves, "steps", "norm of the gradient per datum")


def _margin(train: Sequence[dict[str, Any]], player: str) -> Iterator[Curve]:
    """By how much the output of a player that tells data from samples is larger at data."""
    told = [line for line in train if f"{player}/real" in line and f"{player}/fake" in line]
    if told:
        margins = [line[f"{player}/real"] - line[f"{player}/fake"] for line in told]
        yield Curve(f"{player} at data less at samples", [line["step"] for line in told], margins)


def _lines(metrics: _Lines, split: str) -> list[dict[str, Any]]:
    lines = [line for line in metrics if line["split"] == split]
    return evened(lines) if split == "train" else lines


def _curve(label: str, lines: Sequence[dict[str, Any]], key: str, unit: str) -> Curve:
    place = {"steps": "step"}.get(unit, unit)
    return Curve(label, [line[place] for line in lines], [line[key] for line in lines])


def _chart(curves: Sequence[Curve], unit: str, y_label: str) -> Figure:
    ends = [f"{c.label}: {number(c.y[0])} at first, {number(c.y[-1])} at last." for c in curves if c.y]
    chart = plot_curves(curves, x_label=unit, y_label=y_label)
    return figure_of(chart, f"{y_label.capitalize()} against {unit}. {' '.join(ends)}")
