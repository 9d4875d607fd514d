"""Pathwise parts beside scored ones: the exact gradient under every estimator that has them, in every order of sites.

Gradients are held to those by hand of ``tests.discrete_doubles``; false-alarm rates as in ``discrete_truth.CRITICAL``.
The mistakes that must be caught are among ``discrete_mutants.MUTANTS``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn

from ppgen.errors import UsageError
from ppgen.inference import IWELBO, NVIL, REINFORCE, STL, VIMCO, DisARM, DoubleCV, DReG, GDReG, VRMax
from ppgen.objectives.bounds import Estimator
from ppgen.objectives.pathwise import Composed, PathDerivative
from ppgen.pairs.pair import Pair
from ppgen.pairs.tracing import Program
from ppgen.registry import OBJECTIVES
from tests.discrete_doubles import Blend, Braid, DiscreteDouble, TinySBN, exact_gradient
from tests.doubles import Line, data
from tests.inference.discrete.discrete_harness import moments, unbiased, with_bound
from tests.inference.discrete.discrete_truth import CRITICAL
from tests.inference.discrete.mixed_mutants import StatesOutOfWeights
from tests.inference.truth import elbo, iwelbo
from tests.marks import sampled

BOUNDS: dict[str, Any] = {"elbo": (elbo, 1), "iwelbo": (iwelbo, 2)}
DOUBLES: dict[str, type[DiscreteDouble]] = {"Blend": Blend, "Braid": Braid}
PATHS = [name for name, spec in OBJECTIVES.items() if issubclass(spec.cls, PathDerivative)]  # type: ignore[arg-type]


@dataclass(frozen=True)
class Case:
    """An estimator of a bound with a pathwise part, on a pair."""

    objective: Any
    double: type[DiscreteDouble]

    def __str__(self) -> str:
        objective = self.objective
        return f"{type(objective).__name__}-{objective.bound}-{objective.pathwise}-{self.double.__name__}"


@cache
def exact_of(double: str, bound: str) -> dict[str, Tensor]:
    return exact_gradient(DOUBLES[double](), *BOUNDS[bound])


def cases() -> Iterator[Case]:
    layered = NVIL(num_particles=2, normalise=False, layered=True)
    for objective in [*unbiased(), layered]:
        for double in DOUBLES.values():
            for path in PATHS if isinstance(objective, Composed) else ():
                for bound in ("elbo",) if objective is layered or path == "stl" else BOUNDS:
                    yield Case(replace(with_bound(objective, bound), pathwise=path), double)


@pytest.mark.parametrize("case", sampled(cases(), 5), ids=str)
def test_the_gradient_is_the_exact_one(case: Case) -> None:
    found = moments(case.objective, case.double, exact_of(case.double.__name__, case.objective.bound))
    assert found.largest_z < CRITICAL


def test_every_unbiased_estimator_for_discrete_latents_has_the_option() -> None:
    assert {type(one).__name__ for one in unbiased() if not isinstance(one, Composed)} == {"UnorderedSet"}
    assert set(PATHS) == {"stl", "dreg", "gdreg"}


def test_states_may_be_left_out_of_log_w_under_a_mean_and_where_none_is_drawn_after_a_path() -> None:
    """Which is why the mistake passes elsewhere: it is caught where it is one, in ``test_discrete_truth``."""
    wrong = VIMCO(num_particles=2, bound="elbo", pathwise=StatesOutOfWeights())
    assert moments(wrong, Blend, exact_of("Blend", "elbo")).largest_z < CRITICAL


class Settled(Pair):
    """b, y given b, c given y, and x apart from them: with the prior for guide all log-weights are log p(x)."""

    def __init__(self) -> None:
        super().__init__()
        start = torch.tensor([0.3, 1.2, -0.3, 0.9], dtype=torch.float64)
        self.prior, self.posterior = nn.Parameter(start.clone()), nn.Parameter(start.clone())

    def latents(self, numbers: Tensor) -> None:
        logit, jump, log_spread, link = numbers
        b = pyro.sample("b", dist.Bernoulli(logits=logit))  # (K, B)
        y = pyro.sample("y", dist.Normal(jump * b, log_spread.exp()))
        pyro.sample("c", dist.Bernoulli(logits=link * y))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            self.latents(self.prior)
            pyro.sample("x", dist.Normal(torch.zeros_like(x[0]), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            self.latents(self.posterior)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "objective",
    [REINFORCE(num_particles=3), VIMCO(num_particles=3, centred=True), DisARM()],
    ids=lambda o: type(o).__name__,
)
def test_every_draw_of_the_guides_gradient_is_zero_at_the_posterior(objective: Any, path: str) -> None:
    pair, x = Settled(), data(7)
    if path == "stl":
        objective = replace(objective, bound="elbo")
    by_path, plain = (
        torch.autograd.grad(one.differentiable_loss(pair.model, pair.guide, x), pair.posterior)[0]
        for one in (replace(objective, pathwise=path), objective)
    )
    assert float(by_path.abs().max()) < 1e-10
    assert float(plain.abs().max()) > 1e-2


def test_the_value_is_that_of_the_bound() -> None:
    def value(path: str | None) -> Tensor:
        torch.manual_seed(0)
        return VIMCO(pathwise=path).differentiable_loss(pair.model, pair.guide, *pair.batch)

    pair = Blend(5)
    torch.testing.assert_close(value("dreg"), value(None))


def test_a_path_derivative_may_be_given_and_has_the_bound_of_the_estimator() -> None:
    objective = VIMCO(num_particles=3, pathwise=DReG(num_particles=7, bound="elbo"))
    assert objective.path == DReG(num_particles=3, bound="iwelbo") == VIMCO(num_particles=3, pathwise="dreg").path


def test_particles_are_split_where_the_pathwise_part_splits_them() -> None:
    asked = [REINFORCE(pathwise=path) for path in (None, "stl", "dreg", "gdreg")]
    assert [objective.splits_particles for objective in asked] == [True, True, True, False]
    assert not DoubleCV(pathwise="dreg").splits_particles
    assert not NVIL(layered=True, pathwise="dreg").splits_particles


def test_under_a_bound_whose_weights_see_the_score_sticking_the_landing_is_refused_with_those_who_can() -> None:
    said = r"pathwise='stl' of VIMCO leaves .* not zero under IWELBO, .*: take pathwise='dreg' or pathwise='gdreg'\."
    with pytest.raises(UsageError, match=said):
        VIMCO(pathwise="stl")
    assert VIMCO(pathwise="stl", bound="elbo").unbiased_gradient
    with pytest.raises(UsageError, match=r"DReG differentiates the weights of its bound, and those of VRMax jump"):
        VIMCO(pathwise="dreg", bound=VRMax())
    with pytest.raises(UsageError, match="pathwise"):
        VIMCO(pathwise="elbo")


def why(objective: Estimator, pair: Pair, batch: tuple[Any, ...]) -> str:
    return str(objective.refuses(Program(pair.model, pair.guide), batch))


def test_a_pair_without_reparameterized_latents_has_no_pathwise_part() -> None:
    pair = TinySBN()
    said = why(REINFORCE(pathwise="stl"), pair, pair.batch)
    assert said.startswith("pathwise='stl' of REINFORCE is for reparameterized latents beside those that are scored")
    assert "('z') are all scored: leave it out." in said


@pytest.mark.parametrize("path", [STL(), DReG(), GDReG()], ids=lambda path: type(path).__name__)
def test_a_path_derivative_that_refuses_a_mixed_pair_says_who_has_it_as_a_part(path: PathDerivative) -> None:
    pair, name = Blend(), type(path).__name__.lower()
    _, _, offered = why(path, pair, pair.batch).partition(f"with pathwise='{name}' for the reparameterized ones ")
    made = {n: spec.tiny() for n, spec in OBJECTIVES.items() if spec.tiny is not None}
    able = set()
    for other, one in made.items():
        if "pathwise" in {field.name for field in fields(one)} and (name != "stl" or one.bound == "elbo"):
            able |= {other} if why(replace(one, pathwise=name), pair, pair.batch) == "None" else set()
    assert {part.strip(" '.") for part in offered.split(",")} == able >= {"reinforce", "disarm", "enumerate"}
    assert why(path, TinySBN(), TinySBN().batch).count("pathwise=") == 0  # where nothing is reparameterized


class Halved(Line):
    """Half of the guide's log-density is in the log-weights."""

    def guide(self, x: Tensor) -> None:
        with poutine.scale(scale=0.5):
            super().guide(x)


class HalvedBlend(Blend):
    """The same of a mixed pair."""

    def guide(self, x: Tensor) -> None:
        with poutine.scale(scale=0.5):
            super().guide(x)


def test_a_guide_with_a_scale_of_its_own_is_for_a_mean_of_log_weights_alone() -> None:
    pair, mixed = Halved(), HalvedBlend()
    for path in (DReG(), GDReG()):
        name = type(path).__name__
        said = f"site 'z' of the guide is scaled by other than its plates' N / B, and {name} needs"
        assert why(path, pair, (data(5),)).startswith(said)
        asked = VIMCO(pathwise=name.lower())
        assert f"and pathwise='{name.lower()}' of VIMCO needs" in why(asked, mixed, mixed.batch)
        assert path.refuses(Program(Line(data_size=50).model, Line(data_size=50).guide), (data(5),)) is None
    for taken in (STL(), DReG(bound="elbo"), IWELBO(), DReG(num_particles=1)):
        assert taken.refuses(Program(pair.model, pair.guide), (data(5),)) is None
    assert REINFORCE(pathwise="dreg").refuses(Program(mixed.model, mixed.guide), mixed.batch) is None
