"""``reproduce``: do what a recipe says, and hold what came against what was published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ppgen.diagnostics import Diagnosis
from ppgen.errors import UsageError
from ppgen.evaluation import Evaluation
from ppgen.recipes.recipe import Diagnosed, Evaluated, Number, Recipe, in_words
from ppgen.runs.run import Run

__all__ = ["Reproduction", "diagnosed", "evaluated", "reproduce"]


@dataclass(frozen=True)
class Reproduction:
    """A recipe and what came of it.

    >>> from ppgen.recipes import recipe
    >>> quick = recipe("vae-digits-iwelbo").short()
    >>> one = quick.diagnosis.model_copy(update={"questions": ["importance"]})
    >>> found = reproduce(quick.model_copy(update={"training": {"steps": 2, "eager": True}, "diagnosis": one}))
    >>> found.lines[0]
    'log_likelihood: here -27... (before: -22.56 ± 0.21, -22.56 ± 0.21)'
    """

    recipe: Recipe
    run: Run
    evaluation: Evaluation
    diagnosis: Diagnosis

    @property
    def numbers(self) -> dict[str, Number]:
        """All that was measured, by the names that recipes use."""
        found: dict[str, Number] = {
            "log_likelihood": (self.evaluation.log_likelihood, self.evaluation.standard_error),
            **{one.name: _with_error(one.value, one.standard_error) for one in self.evaluation.measures},
        }
        for line in self.run.metrics:
            if "bound" in line:
                found[f"{line['split']}_bound"] = line["bound"]
        asked = ((f"diagnosis_{finding.question}", finding.number) for finding in self.diagnosis.findings)
        return found | {name: number for name, number in asked if number is not None}

    @property
    def lines(self) -> list[str]:
        """For each number of the recipe ``published -87.6, here -88.1 ± 0.2``, and what came here before."""
        return list(self._lines())

    def _lines(self) -> Iterator[str]:
        numbers = self.numbers
        for name in self.recipe.numbers:
            published = ", ".join(in_words(one.numbers[name]) for one in self.recipe.published if name in one.numbers)
            before = ", ".join(in_words(one.numbers[name]) for one in self.recipe.reached if name in one.numbers)
            here = in_words(numbers[name]) if name in numbers else "not measured"
            said = [*([f"published {published}"] if published else []), f"here {here}"]
            yield f"{name}: {', '.join(said)}" + (f" (before: {before})" if before else "")


def reproduce(
    recipe: Recipe,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    device: str = "auto",
    progress: bool = False,
) -> Reproduction:
    """Train, evaluate and diagnose as a recipe says.

    Args:
        recipe: of :func:`ppgen.recipes.recipe`, or its :meth:`ppgen.recipes.Recipe.short` form.
        out: directory for the run; None: nothing is written.
        resume: go on with the run in ``out``.
        device: ``auto``, ``cpu``, ``cuda``.
        progress: show progress bars.

    Raises:
        UsageError: as :func:`ppgen.fit`; the data are not here and cannot be fetched.
    """
    run = recipe.settings.job(device).train(out, resume=resume, progress=progress)
    evaluation = evaluated(run, recipe.evaluation, progress)
    return Reproduction(recipe, run, evaluation, diagnosed(run, recipe.diagnosis, progress))


def evaluated(run: Run, options: Evaluated, progress: bool) -> Evaluation:
    """The evaluation of a run, which keeps it."""
    asked = options.log_z
    if asked and not run.pair.needs_log_z:
        raise UsageError(f"{', '.join(asked)} are of log Z, and this pair is normalised: leave them out.")
    return run.evaluate(
        options.split,
        options.particles,
        num_data=options.num_data,
        num_samples=options.num_samples,
        labels=options.labels,
        log_z=asked,
        progress=progress,
    )


def diagnosed(run: Run, options: Diagnosed, progress: bool) -> Diagnosis:
    """The diagnosis of a run, which keeps it."""
    return run.diagnose(**dict(options), progress=progress)


def _with_error(value: float, error: float | None) -> Number:
    return value if error is None else (value, error)
