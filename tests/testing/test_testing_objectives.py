"""The checks of objectives catch what they are for: each is shown objectives that break its rule, and little else."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from torch import Tensor, nn

import ppgen
from ppgen.inference import ELBO, IWELBO, MMD, LeastSquares, Minimax
from ppgen.objectives.bounds import Bound, Reduction
from ppgen.objectives.objective import Objective, with_gradient_of
from ppgen.objectives.turns import Outcome, Player, State
from ppgen.pairs.reductions import log_mean_exp
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles
from ppgen.registry import OBJECTIVES, Spec
from ppgen.testing import OBJECTIVE_CHECKS, CheckFailed, NotApplicable, check_objective
from ppgen.testing.bound import AnyBound


@dataclass(frozen=True, kw_only=True)
class Healthy(Reduction):
    """An importance-weighted bound mixed with the ELBO. The mutants below err in one place each."""

    needs_rsample: ClassVar[bool] = True
    per_datum: ClassVar[bool] = True

    num_particles: int = 3
    beta: Any = 0.5

    def reduce(self, log_w: Tensor) -> Tensor:
        value: Tensor = self.beta * log_w.mean(0) + (1 - self.beta) * log_mean_exp(log_w)
        return value


@dataclass(frozen=True, kw_only=True)
class Scheduled(Healthy):
    beta: ppgen.schedules.Scheduled[float] = 0.5


@dataclass(frozen=True)
class Positional(Healthy):
    gamma: float = 1.0


@dataclass(frozen=True, kw_only=True)
class NoDefault(Healthy):
    gamma: float


class TooFewAccepted(Healthy):
    def __post_init__(self) -> None:
        return


class OtherLoss(Healthy):
    def loss(self, *arguments: Any) -> float:
        return 1.01 * super().loss(*arguments)


class NoBackward(Healthy):
    def loss_and_grads(self, *arguments: Any) -> float:
        return self.loss(*arguments)


class ChangesItself(Healthy):
    def estimate(self, particles: Particles) -> Tensor:
        object.__setattr__(self, "num_particles", 4)
        return super().estimate(particles)


class ChangesTheBatch(Healthy):
    def estimate(self, particles: Particles) -> Tensor:
        particles.batch[0].data.mul_(1 + 1e-14)  # too little for any rule of numbers
        return super().estimate(particles)


class SilentZero(ELBO):
    """The pathwise gradient has expectation zero for a discrete guide."""

    needs_rsample = False


class SilentlyWrong(IWELBO):
    """And here it leads away from the posterior."""

    needs_rsample = False


class NotRefused(Healthy):
    def _check(self, particles: Particles) -> None:
        return


class Remembers(Scheduled):
    """Reads its hyper-parameter when it is made, so that ``at`` and ``holding`` come too late."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "kept", 0.3 if callable(self.beta) else self.beta)

    def reduce(self, log_w: Tensor) -> Tensor:
        value: Tensor = self.kept * log_w.mean(0) + (1 - self.kept) * log_mean_exp(log_w)  # type: ignore[attr-defined]
        return value


class ScaledInside(Healthy):
    """The scale N / B enters the log-mean-exp: the fault of more than one library."""

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        particles = run_particles(program, batch, self.num_particles)
        value = log_mean_exp(particles.scale * particles.log_w)
        return Outcome(-value.sum(), particles.scale * len(value))


class WrongCount(Healthy):
    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        return dataclasses.replace(super().play(player, program, batch, state), num_data=float(len(batch[0])))


class AboveTheEvidence(Healthy):
    def reduce(self, log_w: Tensor) -> Tensor:
        return log_w.logsumexp(0)  # not divided by K


class TwoPercent(Healthy):
    def estimate(self, particles: Particles) -> Tensor:
        value = super().estimate(particles)
        return with_gradient_of(value, 1.02 * value)


class NoScore(Healthy):
    """Sticking the landing for a bound of several particles, whose score has an expectation."""

    def estimate(self, particles: Particles) -> Tensor:
        return self.reduce(particles.with_fixed(guide=True).log_w)


class LooksAtValues(Healthy):
    def reduce(self, log_w: Tensor) -> Tensor:
        value = super().reduce(log_w)
        return value if value.sum().item() < 1e9 else -value


class WrongWay(LeastSquares):
    """The generator learns to be told from data."""

    def generator_loss(self, fake: Tensor) -> Tensor:
        return -super().generator_loss(fake)


class HeldDraws(Minimax):
    """The generator's gradient lacks a part."""

    def generator_loss(self, fake: Tensor) -> Tensor:
        return with_gradient_of(super().generator_loss(fake), 0.9 * super().generator_loss(fake))


class Unscaled(Minimax):
    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        outcome = super().play(player, program, batch, state)
        return dataclasses.replace(outcome, loss=outcome.loss / outcome.num_data)


MUTANTS: list[tuple[type[Objective], Mapping[str, Any], set[str]]] = [
    (Positional, {}, {"check_frozen"}),
    (NoDefault, {"gamma": 1.0}, {"check_frozen"}),
    (TooFewAccepted, {}, {"check_min_particles"}),
    (OtherLoss, {}, {"check_losses_agree"}),
    (NoBackward, {}, {"check_losses_agree", "check_stock_svi_takes_it"}),  # SVI calls loss_and_grads
    (ChangesTheBatch, {}, {"check_pure"}),
    (SilentZero, {}, {"check_reparameterization"}),
    (SilentlyWrong, {}, {"check_reparameterization"}),
    (NotRefused, {}, {"check_reparameterization", "check_global_latents"}),
    (Remembers, {}, {"check_at_a_step"}),
    (ScaledInside, {}, {"check_scale_outside"}),
    (WrongCount, {}, {"check_scale_outside"}),
    (AboveTheEvidence, {}, {"check_bound"}),
    (TwoPercent, {}, {"check_unbiased_gradient"}),
    (NoScore, {}, {"check_unbiased_gradient"}),
    (LooksAtValues, {}, {"check_traceable"}),
    (WrongWay, {"hidden": (4,)}, {"check_reparameterization"}),
    (HeldDraws, {"hidden": (4,)}, {"check_unbiased_gradient"}),
    (Unscaled, {"hidden": (4,)}, {"check_scale_outside"}),
]
"""Each mutant with its arguments and the checks that catch it."""


SHOWN = (NotRefused, WrongWay)
"""Mutants of which more than ``make thorough`` asks what else they break."""


@pytest.mark.parametrize("healthy", [Healthy, Scheduled])
def test_a_healthy_objective_breaks_nothing(healthy: type[Objective]) -> None:
    report = check_objective(healthy())
    assert report.ok, str(report)


@pytest.mark.parametrize(("mutant", "options", "expected"), MUTANTS, ids=[mutant.__name__ for mutant, *_ in MUTANTS])
def test_a_broken_objective_is_caught_by_its_check(
    mutant: type[Objective], options: Mapping[str, Any], expected: set[str]
) -> None:
    for check in expected:
        with pytest.raises(CheckFailed) as failed:
            OBJECTIVE_CHECKS[check].function(mutant(**options))
        assert all((failed.value.message, failed.value.where, failed.value.advice))


@pytest.mark.parametrize(
    ("mutant", "options", "expected"),
    [
        pytest.param(*case, marks=() if case[0] in SHOWN else pytest.mark.thorough, id=case[0].__name__)
        for case in MUTANTS
    ],
)
def test_a_broken_objective_breaks_no_other_rule(
    mutant: type[Objective], options: Mapping[str, Any], expected: set[str]
) -> None:
    report = check_objective(mutant(**options))
    assert {result.check for result in report.broken} == expected, str(report)


def test_the_bound_that_the_checks_train_pairs_with_keeps_the_rules() -> None:
    report = check_objective(AnyBound(num_particles=3))
    assert report.ok, str(report)


def test_every_check_of_an_objective_is_shown_a_broken_one() -> None:
    caught: set[str] = set().union(*(expected for *_, expected in MUTANTS))
    assert caught | {"check_registered"} == set(OBJECTIVE_CHECKS)


@pytest.mark.parametrize(
    ("changes", "where"), [({"summary": ""}, "summary"), ({"tiny": lambda: ELBO()}, "tiny"), ({"year": 14}, "year")]
)
def test_an_incomplete_registry_entry_is_caught(
    changes: dict[str, Any], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = Spec("healthy", Healthy, "a bound", "a paper", 2020, tiny=Healthy)
    monkeypatch.setitem(OBJECTIVES._specs, "healthy", entry)
    OBJECTIVE_CHECKS["check_registered"].function(Healthy())
    monkeypatch.setitem(OBJECTIVES._specs, "healthy", dataclasses.replace(entry, **changes))
    with pytest.raises(CheckFailed, match=where):
        OBJECTIVE_CHECKS["check_registered"].function(Healthy())


def test_a_gradient_of_the_models_draws_that_is_two_percent_too_long_is_caught() -> None:
    class TwoPercent(MMD):
        def discrepancy(self, real: Tensor, fake: Tensor, median: Tensor) -> Tensor:
            return super().discrepancy(real, 1.02 * fake - 0.02 * fake.detach(), median)

    check = OBJECTIVE_CHECKS["check_unbiased_gradient"].function
    check(MMD(bandwidths=(1.0,)))
    with pytest.raises(CheckFailed, match="the gradient of the model's 'w'"):
        check(TwoPercent(bandwidths=(1.0,)))


def test_a_step_that_changes_the_objective_is_caught() -> None:
    with pytest.raises(CheckFailed, match="the hyper-parameters"):
        OBJECTIVE_CHECKS["check_pure"].function(ChangesItself())


@dataclass(frozen=True, kw_only=True)
class TwoPlayers(Bound):
    num_particles: int = 1

    def players(self) -> tuple[Player, ...]:
        return Player("critic", ("objective.",)), Player("generator", ("pair.",))

    def parameters(self, pair: nn.Module, batch: tuple[Tensor, ...]) -> nn.Module:
        return nn.Linear(1, 1)

    def estimate(self, particles: Particles) -> Tensor:
        return particles.log_w.mean(0)


def test_an_objective_of_several_players_is_not_judged_on_pairs_of_latents() -> None:
    for name in ("check_losses_agree", "check_bound", "check_unbiased_gradient"):
        with pytest.raises(NotApplicable, match="several players"):
            OBJECTIVE_CHECKS[name].function(TwoPlayers())


def test_what_is_no_objective_is_refused_with_a_sentence() -> None:
    with pytest.raises(ppgen.UsageError, match="expected an objective"):
        check_objective("elbo")


def test_a_refusal_that_does_not_name_the_site_is_not_enough() -> None:
    class Vague(IWELBO):
        def _check(self, particles: Particles) -> None:
            raise ppgen.UsageError("no: do something else.")

    with pytest.raises(CheckFailed, match="does not name it"):
        OBJECTIVE_CHECKS["check_global_latents"].function(Vague())
