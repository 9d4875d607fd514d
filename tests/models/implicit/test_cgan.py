"""The conditional GAN: what it is told, what its critic reads, and what it refuses."""

from typing import Any

import pytest
import torch

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.draws.samples import prior_samples
from ppgen.errors import UsageError
from ppgen.inference import ALI, InfoGAN, NonSaturating
from ppgen.layers.labelled_critics import LabelledCritic
from ppgen.models import CGAN, GAN, BiGAN
from ppgen.objectives.adversarial import Critic
from ppgen.pairs.sampling import unconditioned

PLANE = DataSpec("plane", 2, "real", num_classes=3)
X, Y = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 2, 1, 0])


def test_a_draw_is_the_generator_at_noise_and_one_hot() -> None:
    pair = CGAN(PLANE, 3, hidden=(4,))
    sites = unconditioned(pair.model, (X, Y))
    beside = torch.cat([sites["z"]["value"], torch.eye(3)[Y]], -1)
    assert torch.equal(sites["x"]["value"], pair.generator(beside))


@pytest.mark.parametrize("projection", [False, True])
def test_the_critic_of_a_pair_with_labels_reads_them(projection: bool) -> None:
    game = NonSaturating(hidden=(4,), projection=projection)
    critic = game.parameters(CGAN(PLANE, 3, hidden=(4,)), (X, Y))
    assert isinstance(critic, LabelledCritic)
    assert critic.projection is projection


def test_the_joint_critic_reads_them_too() -> None:
    game = NonSaturating(hidden=(4,), projection=True)
    critic = ALI(game=game).parameters(BiGAN(PLANE, 3, hidden=(4,), labels=True), (X, Y))
    assert isinstance(critic, LabelledCritic)
    assert critic(X, torch.zeros(6, 3), Y).shape == (6,)
    assert isinstance(InfoGAN(game="nonsaturating").parameters(GAN(PLANE, 3, hidden=(4,)), (X,)), Critic)


@pytest.mark.usefixtures("graphs_as_they_are")
@pytest.mark.parametrize(("projection", "steps"), [(True, 150), pytest.param(False, 400, marks=pytest.mark.thorough)])
def test_draws_come_to_lie_where_their_label_says(projection: bool, steps: int) -> None:
    """Three far classes: the nearest centre is the label's for 90 of 100 draws; by chance it is for 33."""
    centres = 2 * torch.tensor([[1.0, 0.0], [-0.5, 0.87], [-0.5, -0.87]])
    torch.manual_seed(0)
    y = torch.arange(600) % 3
    x = centres[y] + 0.2 * torch.randn(600, 2)
    spec = DataSpec("modes", 2, "real", num_classes=3, num_data=600)
    data = Dataset(spec, (x, y), (x[:60], y[:60]), (x[:60], y[:60]))
    pair = CGAN(spec, 2, hidden=(32,))
    game = NonSaturating(hidden=(32,), projection=projection)
    ppgen.fit(pair, data, game, steps=steps, batch_size=100, lr=5e-3, seed=0)
    asked = torch.arange(300) % 3
    drawn = prior_samples(pair, (x[:1].expand(300, 2), asked), 300).x
    assert (torch.cdist(drawn, centres).argmin(1) == asked).float().mean() > 0.9


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: CGAN(DataSpec("plane", 2, "real")), "CGAN needs the number of classes, but .* labels=True"),
        (
            lambda: CGAN(DataSpec("plane", 2, "real", num_classes=3, num_labelled=4)),
            "CGAN needs every label, and 4 of data 'plane' have one",
        ),
        (lambda: CGAN(PLANE, 3, hidden=(4,)).prepare(X), r"CGAN takes batches \(x, y\) with labels .*, got none"),
        (lambda: CGAN(PLANE, 3, hidden=(4,)).prepare(X, Y + 1), "CGAN takes labels 0 to 2, got 3 in row 2"),
        (
            lambda: NonSaturating(projection=True).parameters(GAN(PLANE, 3, hidden=(4,)), (X,)),
            "projection of NonSaturating is of labels, and GAN has none",
        ),
        (
            lambda: NonSaturating(projection=True, critic=torch.nn.Linear(2, 1)),
            "projection of NonSaturating is the default critic's, and a critic is given",
        ),
    ],
)
def test_what_has_no_labels_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


@pytest.mark.parametrize("option", [{"normalisation": "batch"}, {"dropout": 0.1}, {"minibatch_features": 2}], ids=str)
def test_what_the_critic_of_labels_does_not_have_is_refused(option: dict[str, Any]) -> None:
    pair = CGAN(DataSpec("pictures", 6, "real", num_classes=3), hidden=(4,))
    batch = torch.randn(5, 6), torch.tensor([0, 1, 2, 1, 0])
    with pytest.raises(UsageError, match="are those of a critic without labels, and the batch has some"):
        NonSaturating(hidden=(4,), **option).parameters(pair, batch)
