"""InfoGAN's bound against the mutual information of a pair that can be enumerated, and its place in a game."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.errors import UsageError
from ppgen.inference import InfoGAN, LeastSquares, NonSaturating, WassersteinGP
from ppgen.models import GAN, BiGAN
from ppgen.pairs.joint import Joint, drawn_jointly, information
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.pairs.tracing import Program
from ppgen.schedules import linear
from ppgen.training.learner import Learner

CODES, NOISES = 3, 4


class Table(Pair):
    """c one of three with known probabilities, z one of four, x = (2 c + z) mod 6: a table of logits infers c of x."""

    implicit = True

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)
        self.shift = nn.Parameter(logits.new_zeros(()))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            c = pyro.sample("c", dist.Categorical(prior()))
            z = pyro.sample("z", dist.Categorical(torch.ones(NOISES).to(x)))
            made = ((2 * c + z) % 6).to(x)[..., None] + self.shift
            pyro.sample("x", dist.Delta(made, event_dim=1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("c", dist.Categorical(logits=self.logits[x[:, 0].round().long()]))
            pyro.sample("z", dist.Categorical(torch.ones(NOISES).to(x)))


def prior() -> Tensor:
    return torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def joint_table() -> Tensor:
    """p(c, x), (3, 6), by enumeration."""
    table = torch.zeros(CODES, 6, dtype=torch.float64)
    for c in range(CODES):
        for z in range(NOISES):
            table[c, (2 * c + z) % 6] += prior()[c] / NOISES
    return table


def mutual_information() -> float:
    table = joint_table()
    apart = table.sum(0) * table.sum(1, keepdim=True)
    return float(torch.special.xlogy(table, table / apart).sum())


def bound_of(pair: Pair) -> float:
    """L_I, exactly: each of the twelve draws that there are, by its probability."""
    batch = (torch.zeros(2000, 1, dtype=torch.float64),)
    program = Program(pair.model, pair.guide)
    with torch.no_grad():
        drawn = drawn_jointly(program, batch)
        told = information(program, batch, drawn)  # (B,)
    each = {(int(c), int(z)): float(t) for c, z, t in zip(*drawn.values.values(), told, strict=True)}
    assert len(each) == CODES * NOISES  # of 2,000 draws all: the rarest, one in 20, is missed once in 10^44
    return sum(float(prior()[c]) / NOISES * value for (c, _), value in each.items())


def test_the_bound_is_the_mutual_information_at_the_posterior() -> None:
    posterior = joint_table().log() - joint_table().sum(0).log()  # (3, 6)
    assert bound_of(Table(posterior.T)) == pytest.approx(mutual_information(), rel=1e-12)
    assert 0.3 < mutual_information() < float(-(prior() * prior().log()).sum())


def test_below_it_the_bound_lacks_the_divergence_of_guide_and_posterior() -> None:
    table = joint_table()
    posterior = (table / table.sum(0)).T  # (6, 3)
    for number in range(5):
        logits = torch.randn(6, CODES, dtype=torch.float64, generator=torch.Generator().manual_seed(number))
        found = bound_of(Table(logits))
        divergences = (torch.special.xlogy(posterior, posterior) - posterior * logits.log_softmax(-1)).sum(-1)  # (6,)
        assert found < mutual_information()
        assert found == pytest.approx(mutual_information() - float(table.sum(0) @ divergences), rel=1e-12)


def test_climbing_the_bound_finds_the_posterior() -> None:
    torch.manual_seed(0)
    pair, batch = Table(torch.zeros(6, CODES, dtype=torch.float64)), (torch.zeros(4000, 1, dtype=torch.float64),)
    program, adam = Program(pair.model, pair.guide), torch.optim.Adam([pair.logits], 0.2)
    for _ in range(60):
        adam.zero_grad()
        (-information(program, batch, drawn_jointly(program, batch)).mean()).backward()
        adam.step()
    assert mutual_information() - 0.01 < bound_of(pair) <= mutual_information()


def test_noise_that_the_guide_draws_from_the_prior_adds_nothing() -> None:
    pair = GAN(DataSpec("plane", 2, "real"), 3, hidden=(4,))
    program, batch = Program(pair.model, pair.guide), (torch.zeros(5, 2),)
    assert torch.equal(information(program, batch, drawn_jointly(program, batch)), torch.zeros(5))


class Continuous(Pair):
    """u ~ N(0, 1), x = w u + v e with noise e ~ N(0, 1); q(u | x) = N(a x, s^2)."""

    implicit = True

    def __init__(self, a: float, s: float) -> None:
        super().__init__()
        self.w, self.v, self.a, self.s = (
            nn.Parameter(torch.tensor(value, dtype=torch.float64)) for value in (1.5, 0.8, a, s)
        )

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            u = pyro.sample("u", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            e = pyro.sample("e", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Delta(self.w * u + self.v * e, event_dim=1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("u", dist.Normal(self.a * x, self.s).to_event(1))
            pyro.sample("e", dist.Normal(x.new_zeros(1), 1.0).to_event(1))


def test_the_bound_of_a_continuous_code_is_that_of_gaussians() -> None:
    """I = log(1 + w^2 / v^2) / 2 at the posterior; five standard errors of 50,000 draws."""
    variance = 1.5**2 + 0.8**2
    pair = Continuous(1.5 / variance, 0.8 / math.sqrt(variance))
    torch.manual_seed(0)
    program, batch = Program(pair.model, pair.guide), (torch.zeros(50_000, 1, dtype=torch.float64),)
    told = information(program, batch, drawn_jointly(program, batch)).detach()
    assert float(told.mean()) == pytest.approx(0.5 * math.log(1 + 1.5**2 / 0.8**2), abs=5 * float(told.std()) / 223)


def test_the_gradient_reaches_the_generator_through_its_draws() -> None:
    """d L_I / dw by finite differences at the same random numbers."""
    pair, batch = Continuous(0.4, 0.7), (torch.zeros(50, 1, dtype=torch.float64),)
    program = Program(pair.model, pair.guide)

    def bound() -> Tensor:
        torch.manual_seed(3)
        return information(program, batch, drawn_jointly(program, batch)).mean()

    (slope,) = torch.autograd.grad(bound(), [pair.w])
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            pair.w.add_(sign * 1e-6)
            ends.append(bound().item())
            pair.w.sub_(sign * 1e-6)
    assert slope.item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)
    assert abs(slope.item()) > 0.1


@pytest.mark.parametrize("game", [NonSaturating(hidden=(4,), unroll=1), LeastSquares(hidden=(4,))], ids=str)
def test_the_generator_minimises_the_games_loss_less_the_weighted_bound(game: Any) -> None:
    pair, batch = Continuous(0.4, 0.7), (torch.randn(6, 1, dtype=torch.float64),)
    pair.data_size = 60
    learner = Learner(pair, game.parameters(pair, batch).double())

    def played(objective: Any, player: str) -> Any:
        torch.manual_seed(5)
        with isolated():
            return objective.play(player, learner.program, batch, {})

    plain, both = (played(one, "generator") for one in (game, InfoGAN(game=game, weight=0.3)))
    told = both.metrics["information"]
    torch.testing.assert_close(both.loss, plain.loss - 0.3 * 60 * told, rtol=1e-12, atol=0)
    assert both.num_data == 60
    assert told.abs() > 0.01
    torch.testing.assert_close(played(InfoGAN(game=game), "critic").loss, played(game, "critic").loss)


def test_codes_come_to_stand_for_the_modes() -> None:
    """Three far modes and three categories: the bound ends near log 3 = 1.0986, and draws at all modes."""
    torch.manual_seed(0)
    centres = 2 * torch.tensor([[1.0, 0.0], [-0.5, 0.87], [-0.5, -0.87]])
    x = centres[torch.arange(600) % 3] + 0.1 * torch.randn(600, 2)
    data = Dataset(DataSpec("modes", 2, "real", num_data=600), (x,), (x[:60],), (x[:60],))
    pair = ppgen.models.InfoGAN(data.spec, 2, num_categories=3, num_uniform=0, hidden=(32,))
    options = {"steps": 200, "batch_size": 100, "lr": 3e-3, "seed": 0, "eager": True}
    run = ppgen.fit(pair, data, InfoGAN(game=NonSaturating(hidden=(32,))), **options)  # type: ignore[arg-type]
    told = [line["generator/information"] for line in run.metrics if line["split"] == "train"]
    assert told[-1] > 1.0
    category = pair.category_probs(x).argmax(-1)
    assert len({tuple(category[mode::3].mode().values.reshape(1).tolist()) for mode in range(3)}) == 3


def test_a_pair_whose_guide_infers_nothing_is_refused() -> None:
    pair = GAN(DataSpec("plane", 2, "real"), 3, hidden=(4,))
    why = InfoGAN().refuses(Program(pair.model, pair.guide), (torch.zeros(5, 2),))
    assert why is not None
    assert why.startswith("InfoGAN trains the guide to infer latents from x, and none of the latents of GAN's guide")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: InfoGAN(game="elbo"), "game of InfoGAN must be .*a game such as 'nonsaturating'"),
        (lambda: InfoGAN(game="nonsaturatin"), "did you mean 'nonsaturating'"),
        (lambda: ppgen.make_objective("infogan(game=minimax(smoothing=2))"), "smoothing of Minimax must be"),
        (lambda: ppgen.make_objective("infogan(game=minimax(clip=2))"), "the game 'minimax' has no option 'clip'"),
        (lambda: InfoGAN(weight=-1.0), "weight of InfoGAN must be"),
    ],
)
def test_impossible_games_are_refused(make: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


def test_a_run_is_loaded_with_its_game(tmp_path: Path) -> None:
    x = torch.randn(40, 2)
    data = Dataset(DataSpec("plane", 2, "real", num_data=40), (x,), (x[:5],), (x[:5],))
    pair = ppgen.make_pair("infogan", data.spec, noise=2, num_categories=2, hidden=(3,))
    objective = InfoGAN(game=WassersteinGP(hidden=(3,), critic_steps=2), weight=0.1)
    ppgen.fit(pair, data, objective, steps=2, batch_size=10, eager=True, out=tmp_path)
    found: Any = ppgen.load(tmp_path, data=data).objective
    assert (found.weight, found.game.hidden, found.game.critic_steps) == (0.1, [3], 2)
    assert type(found.game) is WassersteinGP


def test_numbers_of_a_joint_are_those_of_its_sites() -> None:
    pair = Table(torch.zeros(6, CODES, dtype=torch.float64))
    joint: Joint = drawn_jointly(Program(pair.model, pair.guide), (torch.zeros(7, 1, dtype=torch.float64),))
    assert joint.names == ["c", "z"]
    assert joint.numbers.dtype == torch.float64
    assert torch.equal(joint.numbers[:, 0], joint.values["c"].double())
    assert torch.equal(joint.side_by_side[:, 0], (2 * joint.numbers[:, 0] + joint.numbers[:, 1]) % 6)


def test_a_game_with_a_schedule_is_refused_by_its_name() -> None:
    with pytest.raises(UsageError, match="the game of InfoGAN has a schedule for noise, and is played as it stands"):
        InfoGAN(game=NonSaturating(noise=linear(1.0, 0.1, 100)))


def test_a_guide_that_is_a_point_is_refused() -> None:
    pair = BiGAN(DataSpec("rows", 3, "real"), 2, hidden=(3,), posterior="point")
    with pytest.raises(UsageError, match=r"InfoGAN reads log q\(z \| x\), and site .z. of the guide is a point"):
        InfoGAN().check(Program(pair.model, pair.guide), (torch.zeros(4, 3),))


def test_a_game_is_read_from_text() -> None:
    found: Any = ppgen.make_objective("infogan", game="wasserstein_gp(hidden=[3], critic_steps=2)")
    assert found.game == WassersteinGP(hidden=[3], critic_steps=2)
    with pytest.raises(UsageError, match="game of InfoGAN: critic_steps of WassersteinGP must be a whole number of at"):
        ppgen.make_objective("infogan", game="wasserstein_gp(critic_steps=0)")
    with pytest.raises(UsageError, match="game of InfoGAN must be a game such as 'nonsaturating'"):
        ppgen.make_objective("infogan", game="elbo(num_particles=2)")


def of_features(network: str = "mlp") -> tuple[ppgen.models.InfoGAN, Any]:
    """A pair of pictures of 4 x 4 in float64, and a batch of five."""
    spec = DataSpec("pictures", 16, "real", image_shape=(4, 4), num_data=50)
    torch.manual_seed(0)
    pair = ppgen.models.InfoGAN(
        spec, 2, num_categories=3, num_uniform=1, hidden=(6,), network=network, channels=(2,), activation="tanh"
    )
    return pair.double(), (torch.randn(5, 16, dtype=torch.float64),)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_a_shared_network_is_moved_by_the_critic_alone(network: str) -> None:
    """Its players part the parameters among them; both losses are those of a critic of the guide's features."""
    pair, batch = of_features(network)
    game = NonSaturating(hidden=())
    objective = InfoGAN(game=game, weight=0.3, shared="encoder")
    learner = Learner(pair, objective.parameters(pair, batch).double())
    critic, generator = (set(learner.owned_by(player)) for player in objective.players())
    encoder = {f"pair.encoder.{name}" for name, _ in pair.encoder.named_parameters()}
    assert critic == encoder | {"objective.network.layers.0.weight", "objective.network.layers.0.bias"}
    assert generator == {f"pair.generator.{name}" for name, _ in pair.generator.named_parameters()}
    for player in ("critic", "generator"):
        torch.manual_seed(5)
        with isolated():
            found = objective.play(player, learner.program, batch, {})
            torch.manual_seed(5)
            drawn = drawn_jointly(learner.program, batch)
            told = information(learner.program, batch, drawn).mean()
        head: Any = learner.objective
        of_real, of_fake = (head(pair.encoder.features(x)) for x in (batch[0], drawn.x))  # type: ignore[operator]
        loss = game.generator_loss(of_fake) if player == "generator" else game.critic_loss(of_real, of_fake)
        torch.testing.assert_close(found.loss, 50 * (loss - 0.3 * told), rtol=1e-12, atol=0)
        assert found.metrics["information"] == told


@pytest.mark.thorough
def test_shared_codes_come_to_stand_for_the_modes(tmp_path: Path) -> None:
    """As above, with one network for critic and guide; and the run is loaded with it."""
    torch.manual_seed(0)
    centres = 2 * torch.tensor([[1.0, 0.0], [-0.5, 0.87], [-0.5, -0.87]])
    x = centres[torch.arange(600) % 3] + 0.1 * torch.randn(600, 2)
    data = Dataset(DataSpec("modes", 2, "real", num_data=600), (x,), (x[:60],), (x[:60],))
    pair = ppgen.make_pair("infogan", data.spec, noise=2, num_categories=3, num_uniform=0, hidden=(32,))
    objective = InfoGAN(game=NonSaturating(hidden=()), shared="encoder")
    ppgen.fit(pair, data, objective, steps=400, batch_size=100, lr=3e-3, seed=0, eager=True, out=tmp_path)
    run = ppgen.load(tmp_path, data=data)
    told = [line["generator/information"] for line in run.metrics if line["split"] == "train"]
    assert told[-1] > 1.0
    category = run.pair.category_probs(x).argmax(-1)
    assert len({int(category[mode::3].mode().values) for mode in range(3)}) == 3


@pytest.mark.parametrize(
    ("shared", "sentence"),
    [
        ("encodr", "shared='encodr' of InfoGAN must name a module that tells .* InfoGAN has encoder:"),
        ("generator", "shared='generator' of InfoGAN must name a module that tells its features of x"),
        ("generator.0", "shared='generator.0' of InfoGAN must name a module that tells its features of x"),
    ],
)
def test_what_tells_no_features_is_not_shared(shared: str, sentence: str) -> None:
    pair, batch = of_features()
    with pytest.raises(UsageError, match=sentence):
        InfoGAN(shared=shared).check(Program(pair.model, pair.guide), batch)


@pytest.mark.parametrize(
    ("game", "what"),
    [
        ("nonsaturating(unroll=2)", "has unroll"),
        ("hinge(spectral_norm=True)", "has spectral_norm"),
        ("wasserstein", "has a critic of its own making"),
        ("began", "has a critic of its own making"),
        ("hinge(critic=conv)", "has critic='conv'"),
    ],
)
def test_a_game_that_wants_a_whole_critic_is_not_played_by_features(game: str, what: str) -> None:
    with pytest.raises(UsageError, match=f"with shared='encoder' the critic of InfoGAN is a dense .* {what}"):
        ppgen.make_objective("infogan", game=game, shared="encoder")
