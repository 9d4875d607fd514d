"""``ppgen compare``: which estimator of a bound's gradient to use on a pair."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from ppgen.arguments import at_least
from ppgen.cli.options import (
    AsJson,
    DataAgain,
    DataSettings,
    Device,
    Engines,
    ModelSettings,
    OptimizerName,
    Schedule,
    Threads,
    Workers,
    complete_objectives,
    settings,
    short_name,
)
from ppgen.cli.output import print_json, print_table, say, stdout_kept_for
from ppgen.comparison import Comparison, ComparisonOptions
from ppgen.comparison.charts import brief
from ppgen.comparison.curves import Curves
from ppgen.comparison.listing import Listed, at_particles, parse_objectives, with_options
from ppgen.comparison.options import Standard
from ppgen.comparison.page import TRAINED, csv_of, evidence_of_bias, render, spread, trained_table, when
from ppgen.comparison.plan import Plan
from ppgen.comparison.records import ObjectiveResult
from ppgen.errors import UsageError, shown
from ppgen.files.writing import claimed, write_all
from ppgen.machine.engines import engine_of
from ppgen.machine.workers import Engine
from ppgen.pages.numbers import short
from ppgen.runs.directory import claim_directory
from ppgen.runs.run import CONFIG
from ppgen.training.options import TrainingOptions
from ppgen.user_code import execute_files

__all__ = ["compare"]

RESULT, TABLE, CURVES, PAGE = "comparison.json", "comparison.csv", "curves.csv", "comparison.html"
FILES = (CONFIG, RESULT, TABLE, CURVES, PAGE)
_COLUMNS = ("objective", "bias", ">variance", ">SNR", ">ms", ">work")
_WITH_REPEAT = {"repeat", "model", "data", "device", "workers", "threads", "engine", "out", "as_json"}


def compare(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A name of `ppgen list models`, or path/to/file.py:Class for a pair of your own.",
            show_default=False,
        ),
    ] = None,
    data: DataAgain = None,
    objectives: Annotated[
        str | None,
        typer.Option(
            "--objectives",
            metavar="A,B,C",
            help='Names with commas between, options in parentheses: "vimco(num_particles=5), reinforce, '
            'pyro.TraceGraph_ELBO".',
            autocompletion=complete_objectives,
            show_default=False,
        ),
    ] = None,
    model_options: ModelSettings = None,
    objective_options: Annotated[
        list[str] | None,
        typer.Option(
            "-O",
            metavar="KEY=VALUE",
            help="An option of all objectives that have it, as often as needed: -O num_particles=5.",
            show_default=False,
        ),
    ] = None,
    data_options: DataSettings = None,
    particles: Annotated[
        str | None,
        typer.Option(
            metavar="K,K,K",
            help="Each objective once for every K, for its signal to noise against K.",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        str, typer.Option(metavar="init|trained|STEPS,...", help="Points of training, with commas between.")
    ] = "init",
    blocks: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME", help="Blocks of parameters: model, guide, ...", show_default="all"),
    ] = None,
    draws: Annotated[int, typer.Option(help="Gradients of each objective.")] = ComparisonOptions.draws,
    precision: Annotated[
        float | None,
        typer.Option(help="As many draws as make variances precise to this share.", show_default="--draws"),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(help="At most so many seconds of drawing, and of an exact gradient.", show_default="no limit"),
    ] = None,
    exact: Annotated[
        str,
        typer.Option(
            metavar="auto|enumeration|quadrature|run",
            help="What bias is measured from: an exact gradient, or a long run of the quietest unbiased objective.",
        ),
    ] = ComparisonOptions.exact,
    false_alarm: Annotated[
        float, typer.Option(help="Probability that any unbiased objective at all is called biased.")
    ] = ComparisonOptions.false_alarm,
    double: Annotated[bool, typer.Option("--double", help="Draw in float64.")] = False,
    batch_size: Annotated[
        int, typer.Option(help="Data in the batch: the first of the training data; and in those of training.")
    ] = TrainingOptions.batch_size,
    train: Annotated[
        bool, typer.Option("--train", help="Train by each objective too, for curves of the validation bound.")
    ] = False,
    seeds: Annotated[int, typer.Option(help="Trainings of each objective under --train.")] = 3,
    steps: Annotated[int, typer.Option(help="Length of a training; what `trained` means.")] = 1000,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Length of each training under --train, in as many steps as it takes.", show_default="--steps"
        ),
    ] = None,
    lr: Annotated[float, typer.Option(help="Learning rate in training.")] = TrainingOptions.lr,
    optimizer: OptimizerName = TrainingOptions.optimizer,
    schedule: Schedule = TrainingOptions.schedule,
    trained_by: Annotated[
        str | None,
        typer.Option(metavar="OBJECTIVE", help="What trains to later points.", show_default="the first objective"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the initial parameters, of draws and of training.")] = 0,
    device: Device = "auto",
    eager: Annotated[bool, typer.Option("--eager", help="Do not compile: no wait, but other timings.")] = False,
    workers: Workers = None,
    threads: Threads = None,
    engine: Engines = "local",
    repeat: Annotated[
        Path | None,
        typer.Option(
            metavar="CONFIG.json",
            help="Repeat the comparison that wrote this file; name a model of your own again, before it.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory for the page and the numbers.", show_default="nothing is written")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare objectives on MODEL at a batch: bias of the gradient, variance, signal to noise, time.

    It says which are unbiased, which is cheapest for its variance, and which to avoid here. With --out it writes one
    HTML page with the plots, the numbers as JSON and CSV, and the config.json from which --repeat makes it again.
    """
    if repeat is not None:
        given = _given(context)
        plan = Plan.read(repeat, model=model, data=data)
        plan = replace(plan, device=device) if "device" in given else plan
    else:
        execute_files(model, data)
        plan = Plan(
            model=_needed(model, "MODEL", "vae"),
            data=_needed(data, "--data", "--data digits"),
            objectives=_listed(
                _needed(objectives, "--objectives", "--objectives elbo,stl"), objective_options, particles
            ),
            model_options=settings("-M", model_options),
            data_options=settings("-D", data_options),
            options=ComparisonOptions(
                draws=draws,
                precision=precision,
                seconds=seconds,
                blocks=None if blocks is None else _names(blocks),
                at=[int(point) if point.isdecimal() and len(point) <= 18 else point for point in _names(at)],
                exact=cast(Standard, exact),
                double=double,
                false_alarm=false_alarm,
                seed=seed,
                eager=eager,
            ),
            training=TrainingOptions(
                steps=steps,
                batch_size=batch_size,
                lr=lr,
                optimizer=optimizer,
                schedule=schedule,
                eager=eager,
                seed=seed,
            ),
            trained_by=None if trained_by is None else _one(trained_by),
            seeds=_num_seeds(seeds) if train else 0,
            minutes=_length(minutes, train),
            device=device,
        )
    if plan.seeds == 0 and (workers, threads, engine) != (None, None, "local"):
        raise UsageError("--workers, --threads and --engine are for trainings: add --train, or leave them out.")
    _carry_out(plan, out, as_json, engine_of(engine, workers, threads, gpus=plan.device != "cpu"))


def _carry_out(plan: Plan, folder: Path | None, as_json: bool, where: Engine) -> None:
    assert plan.made  # names and options are refused before the data are read
    if folder is None:
        _compare(plan, None, as_json, where)
        return
    _check_free(folder, plan)
    with claimed(folder):
        _check_free(folder, plan)  # again: somebody else may have written there before
        _compare(plan, folder, as_json, where)


def _compare(plan: Plan, folder: Path | None, as_json: bool, where: Engine) -> None:
    """The comparison first, printed and written; then the trainings, and all written again.

    What was found is printed whatever becomes of the rest.
    """
    curves: Sequence[Curves] = ()
    with stdout_kept_for(as_json):
        found = plan.compare(progress=True)
    if not as_json:
        _print(found)
    try:
        with stdout_kept_for(as_json):
            _write(plan, found, curves, folder)
            curves = plan.train(progress=True, engine=where)
    finally:
        if as_json:
            print_json(_document(plan, found, curves))
    if curves and not as_json:
        print_table((TRAINED[0], *(f">{title}" for title in TRAINED[1:-1]), TRAINED[-1]), trained_table(curves))
    if curves:
        _write(plan, found, curves, folder)
    if as_json:
        return
    if folder is None:
        say("--out DIR writes the page with the plots, and the numbers as JSON and CSV.")
    else:
        print(folder / PAGE)


def _print(found: Comparison) -> None:
    for point in found.points:
        if len(found.points) > 1:
            print(f"{when(point)}:")
        print_table(_COLUMNS, map(_row, point.objectives))
    print(f"\n{brief(found.words())}\n")


def _row(one: ObjectiveResult) -> tuple[str, ...]:
    """The numbers of the whole gradient, and the block whose bias stands out most."""
    whole, score = one.whole, evidence_of_bias(one)
    numbers = spread(whole.variance), short(whole.snr.value), short(1000 * one.seconds.value), short(whole.work.value)
    return brief(one.label), f"{one.verdict}, {score}" if score else one.verdict, *numbers


def _write(plan: Plan, found: Comparison, curves: Sequence[Curves], folder: Path | None) -> None:
    if folder is None:
        return
    title = f"{short_name(plan.model)} on {short_name(plan.data)}"
    texts = {
        CONFIG: _config(plan),
        RESULT: json.dumps(_document(plan, found, curves), indent=2),
        TABLE: csv_of(found.rows()),
        PAGE: render(found, title, curves, plan.config()),
    }
    if curves:
        texts[CURVES] = csv_of(row for one in curves for row in one.rows())
    write_all(
        {folder / name: text.encode() for name, text in texts.items()}, then="then give the same command once more"
    )


def _config(plan: Plan) -> str:
    return json.dumps(plan.config(), indent=2)


def _document(plan: Plan, found: Comparison, curves: Sequence[Curves]) -> dict[str, Any]:
    return {"model": plan.model, "data": plan.data, **found.to_json(), "curves": [asdict(one) for one in curves]}


def _listed(text: str, shared: Sequence[str] | None, particles: str | None) -> tuple[Listed, ...]:
    listed, options = parse_objectives(text), settings("-O", shared)
    if particles is not None and "num_particles" in options:
        raise UsageError("-O num_particles and --particles both set K: give one of them.")
    listed = with_options(listed, options)
    return listed if particles is None else at_particles(listed, [_number(one) for one in _names(particles)])


def _one(text: str) -> Listed:
    listed = parse_objectives(text)
    if len(listed) != 1:
        raise UsageError(f"--trained-by expects one objective, got {shown(text)}.")
    return listed[0]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 18 or int(text) < 1:
        raise UsageError(f"--particles expects whole numbers of at least 1 with commas between, got {shown(text)}.")
    return int(text)


def _num_seeds(seeds: int) -> int:
    at_least("--seeds", seeds, 1)
    return seeds


def _length(minutes: float | None, train: bool) -> float | None:
    if minutes is not None and not train:
        raise UsageError("--minutes is the length of trainings for curves: add --train, or leave it out.")
    if minutes is not None and not 0 < minutes < math.inf:
        raise UsageError(f"--minutes must be positive and finite, got {minutes}.")
    return minutes


def _needed(value: str | None, name: str, example: str) -> str:
    if value is None:
        raise UsageError(f"a comparison needs {name}: write for example {example}, or --repeat CONFIG.json.")
    return value


def _given(context: typer.Context) -> set[str]:
    """The options on the line beside --repeat, whose file holds the whole comparison: others would be ignored."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    other = next((name.replace("_", "-") for name in sorted(given - _WITH_REPEAT)), None)
    if other is not None:
        raise UsageError(
            f"--repeat takes all of the comparison from its file, and {other} was given too: leave one of them out."
        )
    return given


def _check_free(folder: Path, plan: Plan) -> None:
    """A comparison may be written where there is none, or the same one that did not come to its end."""
    file, expected = folder / CONFIG, [name for name in FILES if plan.seeds or name != CURVES]
    if file.exists() and (
        all((folder / name).exists() for name in expected) or file.read_bytes() != _config(plan).encode()
    ):
        raise UsageError(f"{folder} holds a run or a comparison already: name another --out.")
    claim_directory(folder, resume=True, files=FILES)
