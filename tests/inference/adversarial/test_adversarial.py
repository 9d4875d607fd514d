"""Adversarial losses by hand, and what is refused; what their critics learn is in ``test_adversarial_truth.py``."""

import math
from functools import cache
from itertools import product
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.errors import UsageError
from ppgen.inference import DRAGAN, FGAN, Hinge, LeastSquares, Minimax, NonSaturating, Wasserstein, WassersteinGP
from ppgen.models import GAN, RBM, VAE
from ppgen.objectives.adversarial import Adversarial
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.pairs.sampling import generated
from ppgen.pairs.tracing import Program
from ppgen.testing.agreement import or_zeros
from ppgen.training.learner import Learner
from ppgen.training.options import TrainingOptions
from ppgen.training.steps import compiled, player_step
from ppgen.training.trainer import Trainer
from tests.marks import sampled
from tests.traced import as_graphs

REAL, FAKE = torch.tensor([0.5, -1.0], dtype=torch.float64), torch.tensor([2.0, 0.0, -0.5], dtype=torch.float64)
EVERY: list[Adversarial] = [
    Minimax(hidden=(4,)),
    NonSaturating(hidden=(4,)),
    LeastSquares(hidden=(4,)),
    Wasserstein(hidden=(4,), clip=0.5),
    WassersteinGP(hidden=(4,)),
    DRAGAN(hidden=(4,)),
    Hinge(hidden=(4,)),
    FGAN(hidden=(4,)),
]


def log_d(f: float) -> float:
    """log D of the raw output f."""
    return -math.log1p(math.exp(-f))


def log_not_d(f: float) -> float:
    """log(1 - D) of the raw output f."""
    return -math.log1p(math.exp(f))


CROSS_ENTROPY = -(log_d(0.5) + log_d(-1.0)) / 2 - (log_not_d(2.0) + log_not_d(0.0) + log_not_d(-0.5)) / 3
CAUGHT = (log_not_d(2.0) + log_not_d(0.0) + log_not_d(-0.5)) / 3
PASSED = (log_d(2.0) + log_d(0.0) + log_d(-0.5)) / 3


@pytest.mark.parametrize(
    ("objective", "critic", "generator"),
    [
        (Minimax(), CROSS_ENTROPY, CAUGHT),
        (NonSaturating(), CROSS_ENTROPY, -PASSED),
        (DRAGAN(), CROSS_ENTROPY, -PASSED),
        (DRAGAN(minimax=True), CROSS_ENTROPY, CAUGHT),
        (LeastSquares(), 0.5 * (0.25 + 4) / 2 + 0.5 * (4 + 0.25) / 3, 0.5 * (1 + 1 + 2.25) / 3),
        (Wasserstein(), 0.5 - (-0.25), -0.5),
        (WassersteinGP(), 0.5 - (-0.25), -0.5),
        (Hinge(), (0.5 + 2) / 2 + (3 + 1 + 0.5) / 3, -0.5),
        (FGAN(), CROSS_ENTROPY - math.log(4), CAUGHT + math.log(2)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Adversarial) else "",
)
def test_both_losses_are_those_taken_by_hand(objective: Adversarial, critic: float, generator: float) -> None:
    assert objective.critic_loss(REAL, FAKE).item() == pytest.approx(critic, rel=1e-12)
    assert objective.generator_loss(FAKE).item() == pytest.approx(generator, rel=1e-12)


@pytest.mark.parametrize("make", [Minimax, NonSaturating, DRAGAN])
def test_smoothing_mixes_the_labels_of_data_alone(make: Any) -> None:
    of_data = -(0.9 * (log_d(0.5) + log_d(-1.0)) + 0.1 * (log_not_d(0.5) + log_not_d(-1.0))) / 2
    of_draws = -(log_not_d(2.0) + log_not_d(0.0) + log_not_d(-0.5)) / 3
    assert make(smoothing=0.1).critic_loss(REAL, FAKE).item() == pytest.approx(of_data + of_draws, rel=1e-12)


@pytest.mark.parametrize("objective", [Minimax(), NonSaturating(), DRAGAN()], ids=lambda o: type(o).__name__)
def test_a_critic_that_cannot_tell_has_the_value_minus_log_four(objective: Adversarial) -> None:
    undecided = torch.zeros(3, dtype=torch.float64)
    assert -objective.critic_loss(undecided, undecided).item() == pytest.approx(-math.log(4), rel=1e-12)


@pytest.mark.parametrize("scale", [100.0, -100.0])
def test_losses_of_a_confident_critic_are_finite(scale: float) -> None:
    outputs = torch.full((2,), scale)
    for objective in EVERY:
        assert torch.isfinite(objective.critic_loss(outputs, outputs))
        assert torch.isfinite(objective.generator_loss(outputs))


def test_a_critic_is_charged_for_all_data_and_moved_by_its_penalty() -> None:
    """100 data of which two are in the batch: the loss stands for 100, its gradient for L_c + R."""
    objective, x = WassersteinGP(hidden=(4,)), torch.tensor([[0.0], [1.0]])
    pair = GAN(DataSpec("line", 1, "real", num_data=100), 1, hidden=(3,))
    critic = objective.parameters(pair, (x,))
    program = Program(pair.model, pair.guide, critic)
    torch.manual_seed(1)
    outcome = objective.play("critic", program, (x,), {})
    torch.manual_seed(1)
    with torch.no_grad():
        fake = generated(program, (x,))
    loss = objective.critic_loss(critic(x), critic(fake)) + objective.penalty(critic, x, fake)
    weights = list(critic.parameters())
    torch.testing.assert_close(outcome.loss, 100 * loss)
    truth = torch.autograd.grad(100 * loss, weights, allow_unused=True, materialize_grads=True)
    found = torch.autograd.grad(outcome.loss, weights, allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(found, truth)


def test_weights_of_a_wasserstein_critic_stay_within_their_bound() -> None:
    objective = Wasserstein(hidden=(5,), clip=0.02)
    critic = objective.parameters(nn.Module(), (torch.zeros(2, 3),))
    with torch.no_grad():
        for free in critic.parameters():
            free.mul_(1e6)
    layers = [layer for layer in critic.modules() if isinstance(layer, nn.Linear)]
    assert all(value.abs().max().item() <= 0.02 for layer in layers for value in (layer.weight, layer.bias))
    assert layers[0].weight.abs().max().item() == pytest.approx(0.02)


def test_clipped_weights_are_those_of_free_steps_put_back_after_each() -> None:
    """By SGD, whose steps are known: w <- clip(w - rate grad), from clipped weights on, five steps of the critic."""
    objective = Wasserstein(hidden=(3,), clip=0.1, clipped=True, critic_steps=5)
    options = TrainingOptions(steps=1, lr=0.5, schedule="constant", eager=True, optimizer="SGD")
    trainer = Trainer(GAN(DataSpec("line", 1, "real"), 1, hidden=(3,)), _line(), objective, options)
    critic = trainer.learner.objective
    weights = dict(critic.named_parameters())
    assert max(weight.abs().max().item() for weight in weights.values()) == pytest.approx(0.1)
    seen: list[dict[str, Tensor]] = []
    play = trainer._move

    def moved(player: Any, gradients: Any, norm: Tensor, rate: Any) -> None:
        before = {name: weight.detach().clone() for name, weight in weights.items()}
        play(player, gradients, norm, rate)
        if player.name == "critic":
            steps = zip(before.items(), gradients, strict=True)
            seen.append({name: (old - 0.5 * slope).clamp(-0.1, 0.1) for (name, old), slope in steps})
            torch.testing.assert_close({n: w.detach() for n, w in weights.items()}, seen[-1])

    trainer._move = moved  # type: ignore[method-assign]
    trainer.take_turn()
    assert len(seen) == 5
    at_their_bound = torch.cat([value.flatten() for value in seen[-1].values()]).abs() > 0.0999
    assert 0 < at_their_bound.sum() < len(at_their_bound)


def test_an_unrolled_clipped_critic_stays_within_its_bound() -> None:
    """A huge rate takes every weight that moves to its bound: f(x') = sum of two products of bounds and a bias."""
    objective = Wasserstein(hidden=(), clip=0.2, clipped=True, unroll=1, unroll_rate=1e9)
    pair = GAN(DataSpec("line", 1, "real"), 1, hidden=())
    batch = (torch.full((4, 1), 5.0),)
    learner = Learner(pair, objective.parameters(pair, batch))
    torch.manual_seed(0)
    fake = generated(learner.program, batch)
    torch.manual_seed(0)
    outcome = objective.play("generator", learner.program, batch, {})
    bias = learner.objective.network.layers[0].bias  # type: ignore[union-attr,index]
    slope = 0.2 if fake.mean() < 5 else -0.2
    assert outcome.loss.item() / 4 == pytest.approx(-(slope * fake.mean() + bias).item(), rel=1e-5)


def test_each_player_has_the_steps_moments_and_rate_it_was_given() -> None:
    critic, generator = WassersteinGP(critic_steps=3, critic_rate=2.0, betas=(0.0, 0.9)).players()
    assert (critic.name, critic.steps, critic.betas, critic.rate) == ("critic", 3, (0.0, 0.9), 2.0)
    assert (generator.name, generator.steps, generator.betas, generator.rate) == ("generator", 1, (0.0, 0.9), 1.0)


def test_each_players_optimizer_is_the_one_it_asked_for() -> None:
    objective = NonSaturating(hidden=(3,), critic_rate=3.0, betas=(0.2, 0.8))
    options = TrainingOptions(steps=1, lr=0.01, schedule="constant", eager=True)
    trainer = Trainer(GAN(DataSpec("line", 1, "real"), 1, hidden=(3,)), _line(), objective, options)
    trainer.take_turn()
    found = {name: optimizer.param_groups[0] for name, optimizer in trainer.optimizers.items()}
    assert {name: group["betas"] for name, group in found.items()} == dict.fromkeys(found, (0.2, 0.8))
    assert {name: group["lr"] for name, group in found.items()} == pytest.approx({"critic": 0.03, "generator": 0.01})


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Minimax(smoothing=(0.1, 0.1)), r"only the label of data is smoothed, because .* b p_g"),  # type: ignore[arg-type]
        (lambda: ppgen.make_objective("nonsaturating", smoothing=[0.1, 0.1]), "must be one number"),
        (lambda: Minimax(smoothing=1.0), "smoothing of Minimax must be one number of at least 0 and below 1"),
        (lambda: Minimax(smoothing=-0.1), "smoothing of Minimax must be one number of at least 0"),
        (lambda: ppgen.make_objective("least_squares", smoothing=0.1), "has no option 'smoothing'"),
        (lambda: ppgen.make_objective("wasserstein_gp", smoothing=0.1), "has no option 'smoothing'"),
        (lambda: Minimax(critic_steps=0), "critic_steps of Minimax must be"),
        (lambda: Minimax(unroll=1.5), "unroll of Minimax must be a whole number"),  # type: ignore[arg-type]
        (lambda: Minimax(betas=(0.5, 1.0)), r"betas of Minimax must be two numbers in \[0, 1\)"),
        (lambda: Minimax(hidden=(0,)), "hidden of Minimax must be a list of whole numbers of at least 1"),
        (lambda: Wasserstein(clip=0.0), "clip of Wasserstein must be"),
        (lambda: WassersteinGP(weight=-1.0), "weight of WassersteinGP must be"),
    ],
)
def test_impossible_options_are_refused(make: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


class Codes(Pair):
    """A generator with a discrete code: ``learned``, whether its probabilities are parameters."""

    implicit = True

    def __init__(self, learned: bool) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(3), requires_grad=learned)
        self.places = nn.Parameter(torch.tensor([-1.0, 0.0, 1.0]))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            c = pyro.sample("c", dist.OneHotCategorical(logits=self.logits))  # (K, B, 3)
            pyro.sample("x", dist.Delta((c @ self.places).unsqueeze(-1), event_dim=1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("c", dist.OneHotCategorical(logits=self.logits))


def test_draws_without_a_gradient_are_refused_with_the_site() -> None:
    binary = VAE(DataSpec("bits", 4, "binary"), 2, hidden=(3,))
    learned, fixed = Codes(True), Codes(False)
    for pair, batch, site in ((binary, torch.zeros(2, 4), "x"), (learned, torch.zeros(2, 1), "c")):
        why = NonSaturating().refuses(Program(pair.model, pair.guide), (batch,))
        assert why is not None
        assert why.startswith(f"site '{site}' of the model is not reparameterized, and NonSaturating")
    assert NonSaturating().refuses(Program(fixed.model, fixed.guide), (torch.zeros(2, 1),)) is None


def test_an_unnormalised_pair_has_no_draws_to_train_by() -> None:
    pair = RBM(DataSpec("bits", 4, "binary"), 2)
    why = NonSaturating().refuses(Program(pair.model, pair.guide), (torch.zeros(2, 4),))
    assert why is not None
    assert "RBM is unnormalised and has none" in why


def _line(num_data: int = 100) -> Dataset:
    x = torch.randn(num_data, 1)
    return Dataset(DataSpec("line", 1, "real", num_data=num_data), (x,), (x[:20],), (x[:20],))


def test_a_pair_with_a_density_trains_by_its_draws() -> None:
    pair = VAE(DataSpec("line", 1, "real", num_data=100), 1, hidden=(3,))
    before = {name: value.clone() for name, value in pair.state_dict().items()}
    ppgen.fit(pair, _line(), NonSaturating(hidden=(3,)), steps=2, eager=True)
    moved = {name for name, value in pair.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if not name.startswith("encoder")}


def test_the_critic_learns_nothing_of_the_pair_and_the_pair_nothing_of_the_critic() -> None:
    pair, objective = GAN(DataSpec("line", 1, "real"), 1, hidden=(3,)), NonSaturating(hidden=(3,))
    batch = (torch.randn(4, 1),)
    learner = Learner(pair, objective.parameters(pair, batch))
    for player, owns in (("critic", "objective."), ("generator", "pair.")):
        with isolated():
            loss = objective.play(player, learner.program, batch, {}).loss
        found = torch.autograd.grad(loss, list(learner.parameters()), allow_unused=True)
        told = {n for (n, p), g in zip(learner.named_parameters(), found, strict=True) if or_zeros(g, p).any()}
        assert told
        if player == "critic":
            assert all(name.startswith(owns) for name in told)
        else:
            assert set(learner.owned_by(objective.players()[1])) == {n for n in told if n.startswith(owns)}


THOROUGH = pytest.mark.thorough
COMPILED = [(Wasserstein(hidden=(4,), clip=0.5), 0), (WassersteinGP(hidden=(4,)), 0), (DRAGAN(hidden=(4,)), 2)]


def check_compiled(objective: Adversarial, unroll: int) -> None:
    """Compiled and eager steps of both players agree."""
    pair, objective_ = GAN(DataSpec("plane", 2, "real"), 2, hidden=(3,)), objective.holding({"unroll": unroll})
    batch = (torch.randn(6, 2),)
    learner = Learner(pair, objective_.parameters(pair, batch))
    for player in objective_.players():
        owned: dict[str, Tensor] = dict(learner.owned_by(player))
        others = {n: v for n, v in learner.state_dict(keep_vars=True).items() if n not in owned}
        arguments: tuple[Any, ...] = (owned, others, {}, {}, batch)
        step = player_step(learner, objective_, player)
        outcomes = []
        for run in (step, compiled(step, *arguments)):
            torch.manual_seed(1)
            outcomes.append(run(*arguments)[:2])
        torch.testing.assert_close(outcomes[1], outcomes[0])


@cache
def operations(objective: Adversarial, unroll: int) -> frozenset[str]:
    """Those of the graphs of both players, which agree with the eager steps."""
    with as_graphs() as found:
        check_compiled(objective, unroll)
    return frozenset(found)


@pytest.mark.parametrize("unroll", [0, 2])
@pytest.mark.parametrize("objective", sampled(EVERY), ids=lambda o: type(o).__name__)
def test_a_step_with_its_second_derivatives_is_one_graph_that_equals_the_eager_one(
    objective: Adversarial, unroll: int
) -> None:
    assert operations(objective, unroll)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "unroll"),
    [pytest.param(*case, marks=THOROUGH) for case in COMPILED],
    ids=["Wasserstein-0", "WassersteinGP-0", "DRAGAN-2"],
)
def test_a_compiled_step_with_its_second_derivatives_equals_the_eager_one(objective: Adversarial, unroll: int) -> None:
    check_compiled(objective, unroll)


def test_the_steps_that_are_compiled_hold_every_operation_of_the_others() -> None:
    every = set[str]().union(*(operations(objective, unroll) for objective, unroll in product(EVERY, (0, 2))))
    assert every == set[str]().union(*(operations(objective, unroll) for objective, unroll in COMPILED))
