"""VAE/GAN: each player's loss and gradient by hand on a linear pair, what each moves, and whom it refuses."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.errors import UsageError
from ppgen.inference import BEGAN, VAEGAN, LeastSquares, Minimax, NonSaturating, WassersteinGP
from ppgen.models import CVAE, GAN, RBM, SBN, VAE, BiGAN, ImplicitVAE
from ppgen.objectives.adversarial import Adversarial
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.pairs.tracing import Program
from ppgen.training.learner import Learner
from ppgen.training.options import TrainingOptions
from ppgen.training.steps import player_step
from ppgen.training.trainer import Trainer

B = 5
X = torch.linspace(-1.5, 2, B, dtype=torch.float64)[:, None] * torch.tensor([[1.0, -0.4]], dtype=torch.float64)


class Linear(Pair):
    """z ~ N(0, 1), x | z ~ N(w z + b, s^2), of two numbers; q(z | x) = N(a . x + c, exp(log_s)^2)."""

    def __init__(self) -> None:
        super().__init__(10 * B)
        made = {"w": (0.7, -1.1), "b": (0.2, 0.1), "a": (0.3, 0.5), "c": (0.4,), "log_s": (-0.6,)}
        for name, value in made.items():
            setattr(self, name, nn.Parameter(torch.tensor(value, dtype=torch.float64)))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))  # (K, B, 1)
            pyro.sample("x", dist.Normal(self.w * z + self.b, 0.3).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            loc = x @ self.a + self.c
            pyro.sample("z", dist.Normal(loc[:, None], self.log_s.exp()).to_event(1))


class Told(nn.Module):
    """A linear critic of three features that are linear too."""

    def __init__(self) -> None:
        super().__init__()
        self.u = nn.Parameter(torch.tensor([[0.5, -0.2], [0.1, 0.9], [-0.7, 0.3]], dtype=torch.float64))
        self.v = nn.Parameter(torch.tensor([0.8, -0.5, 0.6], dtype=torch.float64))

    def features(self, x: Tensor) -> Tensor:
        return x @ self.u.T

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x) @ self.v


def learner_of(objective: VAEGAN) -> Learner:
    pair = Linear()
    return Learner(pair, objective.parameters(pair, (X,)))


def by_hand(learner: Learner, player: str, objective: VAEGAN, seed: int) -> Tensor:
    """The player's loss per datum at the draws of a seed, with what it does not move held fixed."""
    pair: Any = learner.pair
    critic: Any = learner.objective
    own = {name: value if player == "decoder" else value.detach() for name, value in (("w", pair.w), ("b", pair.b))}
    told = {name: getattr(pair, name) for name in ("a", "c", "log_s")}
    told = {name: value if player == "encoder" else value.detach() for name, value in told.items()}
    u, v = (part if player == "critic" else part.detach() for part in (critic.u, critic.v))
    normal = noise_of(player, seed)
    loc, log_s = X @ told["a"] + told["c"], told["log_s"]
    z = loc + log_s.exp() * normal["z"]
    rebuilt, drawn = (latent[:, None] * own["w"] + own["b"] for latent in (z, normal["prior"]))
    divergence = (0.5 * (loc**2 + (2 * log_s).exp() - 1) - log_s).mean()
    like = 0.5 * ((X @ u.T - rebuilt @ u.T) ** 2).sum(1).mean() + 1.5 * math.log(2 * math.pi)
    game = objective.rules
    losses: dict[str, Tensor] = {
        "critic": torch.stack([game.critic_loss(X @ u.T @ v, fake @ u.T @ v) for fake in (drawn, rebuilt)]).mean(),
        "encoder": divergence + like,
        "decoder": objective.gamma * like + game.generator_loss(torch.cat([drawn, rebuilt]) @ u.T @ v),
    }
    return losses[player]


def noise_of(player: str, seed: int) -> dict[str, Tensor]:
    """The numbers that the guide's and the prior's draws are made of, in the order in which a player draws."""
    torch.manual_seed(seed)
    draws = {"z": torch.randn(1, B, 1, dtype=torch.float64)} if player != "critic" else {}
    draws["prior"] = torch.randn(B, 1, dtype=torch.float64)
    torch.randn(B, 2, dtype=torch.float64)  # x given it, of which the mean alone is used
    draws.setdefault("z", torch.randn(1, B, 1, dtype=torch.float64))
    return {name: value.reshape(B) for name, value in draws.items()}


@pytest.mark.parametrize("game", [Minimax(critic=Told()), LeastSquares(critic=Told())], ids=lambda g: type(g).__name__)
@pytest.mark.parametrize("player", ["critic", "encoder", "decoder"])
def test_loss_and_gradient_of_each_player_are_those_taken_by_hand(game: Adversarial, player: str) -> None:
    """And what it does not move has a gradient of zero, or none: the encoder and the decoder own the pair."""
    objective = VAEGAN(game=game, gamma=0.7)
    learner = learner_of(objective)
    expected = by_hand(learner, player, objective, seed=3)
    torch.manual_seed(3)
    with isolated():
        outcome = objective.play(player, learner.program, (X,), {})
    assert outcome.num_data == 10 * B
    assert outcome.loss.item() / outcome.num_data == pytest.approx(expected.item(), rel=1e-12)
    named = dict(learner.named_parameters())
    found, hand = (
        torch.autograd.grad(loss, list(named.values()), allow_unused=True, materialize_grads=True)
        for loss in (outcome.loss / outcome.num_data, expected)
    )
    moved = {"critic": ("objective.",), "encoder": ("pair.a", "pair.c", "pair.log_s"), "decoder": ("pair.w", "pair.b")}
    for (name, _), own, truth in zip(named.items(), found, hand, strict=True):
        if name.startswith(moved[player]):
            assert truth.any()
        if name.startswith(moved[player]) or (name.startswith("pair.") and player != "critic"):
            torch.testing.assert_close(own, truth, rtol=1e-10, atol=1e-14)


def test_each_player_moves_what_is_its_own() -> None:
    """Of what it is given in the loop: where its gradient is zero throughout, Adam's step is."""
    objective = VAEGAN(game="minimax")
    learner = learner_of(objective).double()
    moved = {}
    for player in objective.players():
        owned, others = learner.arguments(player)
        gradients, *_ = player_step(learner, objective, player)(owned, others, {}, {}, (X,))
        moved[player.name] = {name for name, slope in zip(owned, gradients, strict=True) if slope.any()}
    critic = {f"objective.{name}" for name, _ in learner.objective.named_parameters()}
    encoder, decoder = ({f"pair.{name}" for name in names} for names in (("a", "c", "log_s"), ("w", "b")))
    assert moved == {"critic": critic, "encoder": encoder, "decoder": decoder}


def test_features_of_the_default_critics_are_what_their_last_layer_reads() -> None:
    spec = DataSpec("pictures", 64, "quantised", image_shape=(8, 8), levels=4, num_classes=3)
    x, y = torch.randint(4, (6, 64)) / 3, torch.tensor([0, 1, 2, 0, 1, 2])
    critics: list[tuple[Adversarial, Any, tuple[Any, ...]]] = [
        (NonSaturating(hidden=(7, 5)), GAN(spec, 2, hidden=(3,)), (x,)),
        (NonSaturating(hidden=(7, 5), minibatch_features=2), GAN(spec, 2, hidden=(3,)), (x,)),
        (NonSaturating(hidden=(7, 5), normalisation="virtual"), GAN(spec, 2, hidden=(3,)), (x,)),
        (NonSaturating(critic="conv", hidden=(2, 3)), GAN(spec, 2, hidden=(3,)), (x,)),
        (NonSaturating(critic="conv", hidden=(2, 3), normalisation="reference"), GAN(spec, 2, hidden=(3,)), (x,)),
        (NonSaturating(hidden=(7, 5)), CVAE(spec, 2, hidden=(3,)), (x, y)),
        (NonSaturating(hidden=(7, 5), projection=True), CVAE(spec, 2, hidden=(3,)), (x, y)),
    ]
    for game, pair, batch in critics:
        critic: Any = game.parameters(pair, batch)
        inner = getattr(critic, "network", critic) if "Referenced" in type(critic).__name__ else critic
        seen: list[Tensor] = []
        last = [m for m in inner.modules() if isinstance(m, nn.Linear)][-1]
        if game.minibatch_features:
            last = inner.network.layers[-1]
        last.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        critic(*batch)
        assert critic.features(*batch).equal(seen[0][-6:]), game


@pytest.mark.parametrize("pair", ["vae", "bigan", "cvae"])
def test_pairs_with_an_encoder_train(pair: str) -> None:
    torch.manual_seed(0)
    x, labels = torch.rand(20, 4).round(), (torch.arange(20) % 3,) if pair == "cvae" else ()
    split = (x, *labels)
    spec = DataSpec("bits", 4, "binary", num_data=20, num_classes=3 if labels else None)
    data = Dataset(spec, split, split, split)
    made = ppgen.make_pair(pair, data.spec, hidden=(3,))
    game = WassersteinGP(hidden=(6,), critic_steps=2) if pair == "bigan" else NonSaturating(hidden=(6,), unroll=1)
    run = ppgen.fit(made, data, VAEGAN(game=game), steps=2, batch_size=20, seed=0, eager=True)
    line = next(line for line in run.metrics if line["split"] == "train")
    assert {"critic/fake", "encoder/divergence", "encoder/similarity", "decoder/fooling"} <= line.keys()
    assert line["encoder/loss"] == pytest.approx(line["encoder/divergence"] - line["encoder/similarity"], rel=1e-5)


def test_averages_and_histories_of_the_game_are_kept() -> None:
    x = X.float()
    data = Dataset(DataSpec("plane", 2, "real", num_data=B), (x,), (x,), (x,))
    game = NonSaturating(hidden=(3,), ema=0.9, historical_averaging=0.1)
    trainer = Trainer(Linear().float(), data, VAEGAN(game=game), TrainingOptions(steps=3, batch_size=B, eager=True))
    for _ in range(2):
        trainer.take_turn()
    assert float(trainer.state["turns.generator"]) == float(trainer.state["turns.critic"]) == 2
    assert not trainer.state["ema.w"].equal(trainer.learner.pair.w)


class Shared(Linear):
    """With a latent for all data."""

    def model(self, x: Tensor) -> None:
        pyro.sample("m", dist.Normal(x.new_zeros(()), 1.0))
        super().model(x)

    def guide(self, x: Tensor) -> None:
        pyro.sample("m", dist.Normal(self.c[0], 1.0))
        super().guide(x)


class Cauchy(Linear):
    """Whose x has no mean with a gradient."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Cauchy(self.w * z + self.b, 0.3).to_event(1), obs=x)


REALS, BITS = DataSpec("plane", 2, "real"), DataSpec("bits", 2, "binary")


@pytest.mark.parametrize(
    ("pair", "sentence"),
    [
        (GAN(REALS, 3, hidden=(4,)), "VAEGAN trains the guide to infer latents from x, and none of the latents of GAN"),
        (BiGAN(REALS, 3, hidden=(4,), posterior="point"), "site 'z' of the guide is a point, which has none"),
        (ImplicitVAE(BITS, 2, noise=2, hidden=(3,)), "site 'z' of the guide is a point, which has none"),
        (SBN(BITS), r"sites 'z2', 'z1' of the guide are drawn from Bernoulli, .* under VAEGAN"),
        (RBM(BITS), "VAEGAN reads direct draws of the model, and RBM is unnormalised"),
        (Shared(), "site 'm' stands outside the data plate"),
        (Cauchy(), "site 'x' of Cauchy has none with a gradient"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_pairs_that_lack_something_are_refused(pair: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        VAEGAN().check(Program(pair.model, pair.guide), (X.to(next(pair.parameters()).dtype).round().clamp(0, 1),))


def test_a_critic_that_tells_no_features_is_refused_with_what_to_do() -> None:
    pair = VAE(REALS, 2, hidden=(3,))
    told = "VAEGAN compares what its critic finds .* and Linear does not tell: give it a method features"
    with pytest.raises(UsageError, match=told):
        VAEGAN(game=NonSaturating(critic=nn.Linear(2, 1))).parameters(pair, (X.float(),))
    with pytest.raises(UsageError, match="_Autoencoder does not tell"):
        VAEGAN(game=BEGAN(hidden=(3,))).parameters(pair, (X.float(),))


class Summed(Told):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1)

    def features(self, x: Tensor) -> Tensor:
        return super().features(x).sum(1)


def test_features_that_are_no_numbers_of_a_datum_are_refused() -> None:
    learner = learner_of(VAEGAN(game=NonSaturating(critic=Summed())))
    with pytest.raises(UsageError, match=r"features of Summed are to be numbers for each datum, .* shape \(5,\)"):
        VAEGAN().play("encoder", learner.program, (X,), {})
