"""The table of losses in docs/adversarial.md: each critic that it calls optimal is, and trained ones come near it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from ppgen.inference import FGAN
from ppgen.inference.adversarial.f_gan import DIVERGENCES
from ppgen.objectives.adversarial import Adversarial
from ppgen.registry import OBJECTIVES
from tests.inference.adversarial.densities import CONVEX, GRID, LOC, SCALE, STEP, P, Q, f_divergence, mean_of, risk
from tests.inference.adversarial.test_adversarial_truth import Generator, trained_critic

PAGE = Path(__file__).parents[3] / "docs" / "adversarial.md"
GAMES: dict[str, Any] = {
    name: spec.cls
    for name, spec in OBJECTIVES.items()
    if isinstance(spec.cls, type) and issubclass(spec.cls, Adversarial)
}
C = 0.01
OF_DATA, OF_DRAWS = (torch.as_tensor(norm.cdf(GRID, *at)) for at in ((0, 1), (LOC, SCALE)))
NAMES: dict[str, Any] = {
    "p": P,
    "q": Q,
    "P": OF_DATA,
    "Q": OF_DRAWS,
    "x": GRID,
    "c": C,
    "E": lambda density, values: torch.tensor(mean_of(values, density)),
    "JS": f_divergence("jensen_shannon") / 2,
    "TV": f_divergence("total_variation"),
    "W1": float((OF_DATA - OF_DRAWS).abs().sum()) * STEP,
    **{name: getattr(torch, name) for name in ("sign", "exp", "sqrt", "tanh", "abs")},
    "log": lambda value: torch.as_tensor(value, dtype=torch.float64).log(),
}


@cache
def rows(first: str) -> dict[str, list[str]]:
    """The cells of the table whose head begins so, by the name in the first column."""
    lines = iter(PAGE.read_text(encoding="utf-8").splitlines())
    next(line for line in lines if line.startswith(f"| {first} |"))
    next(lines)
    found: dict[str, list[str]] = {}
    for line in lines:
        if not line.startswith("|"):
            return found
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        found[cells[0].strip(" `")] = cells
    return found


def value(cell: str, **more: Any) -> Any:
    """What the code in a cell says; None: there is none."""
    codes = re.findall(r"`([^`]*)`", cell)
    return eval(codes[-1], {"__builtins__": {}}, {**NAMES, **more}) if codes else None  # our own page


def optimal(name: str) -> Tensor | None:
    """The outputs on the grid of the critic that is called optimal."""
    cell = rows("objective")[name][3]
    if name == "dragan":
        cell = cell.split("without")[0]
    found: Tensor | None = value(cell)
    return found.cumsum(0) * STEP if found is not None and cell.startswith("slope") else found


def rivals(name: str, best: Tensor) -> list[Tensor]:
    """Other critics of the same set, which is convex: linear ones within the bound, of slope at most one, or any."""
    if name == "wasserstein":
        return [-best, C * GRID / 2, torch.zeros_like(GRID), -C * GRID / 3 + C]
    waves = [(GRID * speed + shift).sin() / speed for speed in (0.5, 1.0, 2.0) for shift in (0.0, 1.0, 2.0)]
    return [0.9 * best + 0.1 * wave for wave in waves] + [0.9 * best, torch.zeros_like(best)]


def test_every_loss_with_a_critic_has_its_row() -> None:
    assert {*rows("objective")} == {*GAMES}
    assert {*rows("`divergence`")} == {*DIVERGENCES}


@pytest.mark.parametrize("name", GAMES)
def test_the_critic_that_is_called_optimal_is_and_has_the_value_of_the_table(name: str) -> None:
    """Values to the rounding of the grid's sums: 1e-6."""
    best = optimal(name)
    if best is None:
        assert "none is known" in rows("objective")[name][3]
        return
    least = risk(GAMES[name](), best).item()
    assert least == pytest.approx(float(value(rows("objective")[name][4])), rel=1e-6)
    for other in rivals(name, best):
        assert risk(GAMES[name](), other).item() > least


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_divergences_of_the_table_are_those_of_the_objective(name: Any) -> None:
    _, convex, activation, best, _ = rows("`divergence`")[name]
    u, v = torch.linspace(0.1, 5, 50, dtype=torch.float64), torch.linspace(-3, 3, 50, dtype=torch.float64)
    torch.testing.assert_close(value(convex, u=u), CONVEX[name](u))
    torch.testing.assert_close(value(activation, v=v), DIVERGENCES[name].activation(v))
    objective = FGAN(divergence=name)
    least = risk(objective, value(best)).item()
    assert -least == pytest.approx(f_divergence(name), rel=1e-9)
    assert all(risk(objective, other).item() > least - 1e-9 for other in rivals("f_gan", value(best)))


THOROUGH = pytest.mark.thorough
QUICK = ("hinge",)
TRAINED: dict[str, tuple[str, dict[str, Any]]] = {
    "minimax": ("minimax", {}),
    "nonsaturating": ("nonsaturating", {}),
    "least_squares": ("least_squares", {}),
    "hinge": ("hinge", {"hidden": (32,), "critic_rate": 5e7}),
    "wasserstein": ("wasserstein", {"hidden": (), "critic_steps": 1}),
    "wasserstein, clipped": ("wasserstein", {"hidden": (), "critic_steps": 1, "clipped": True}),
    "wasserstein_gp": ("wasserstein_gp", {"critic_steps": 1}),
    "dragan": ("dragan", {"weight": 0.0}),
    **{f"f_gan of {name}": ("f_gan", {"divergence": name}) for name in DIVERGENCES if name != "neyman"},
}
"""The weights of neyman, squared ratios q / p, have no finite variance for these densities."""


def test_every_loss_with_an_optimal_critic_is_trained() -> None:
    assert {name for name, _ in TRAINED.values()} == {name for name in GAMES if optimal(name) is not None}


@pytest.mark.usefixtures("graphs_as_they_are")
@pytest.mark.parametrize("case", [one if one in QUICK else pytest.param(one, marks=THOROUGH) for one in TRAINED])
def test_a_trained_critic_finds_the_divergence_within_five_percent(case: str) -> None:
    """What L_c is lower than the best that a constant critic has, against the same of the optimal critic.

    The soft penalty of wasserstein_gp takes W1 / (2 weight) of it, 4 percent.
    """
    name, options = TRAINED[case]
    objective = GAMES[name](**{"hidden": (16,), "critic_rate": 1e7, **options})
    critic = trained_critic(objective, Generator(LOC, SCALE), 800).double()
    with torch.no_grad():
        outputs = critic(GRID[:, None])
    best = value(rows("`divergence`")[options["divergence"]][3]) if name == "f_gan" else optimal(name)
    assert best is not None
    levels = torch.linspace(-3, 3, 601).tolist()
    constant = min(risk(objective, torch.full_like(GRID, level)).item() for level in levels)
    share = (constant - risk(objective, outputs).item()) / (constant - risk(objective, best).item())
    assert share == pytest.approx(1, abs=0.05)
