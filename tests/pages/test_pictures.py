"""Draws, reconstructions and traversals are those of the pair's own densities; files hold what they should."""

import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import transforms
from torch import Tensor, nn

import ppgen
from ppgen import Pair
from ppgen.data import Dataset, DataSpec
from ppgen.draws import conditions, latent_traversal, prior_samples, reconstructions
from ppgen.draws.paths import _turned, interpolation
from ppgen.draws.samples import has_walk
from ppgen.errors import UsageError
from ppgen.inference import ELBO
from ppgen.models import CVAE, RBM, VAE, LinearGaussian
from ppgen.pages import pictures
from ppgen.registry import MODELS
from ppgen.runs import Run
from ppgen.runs.config import describe
from ppgen.runs.samples_file import save_samples
from ppgen.training.options import TrainingOptions
from tests.doubles import Mixture
from tests.implicit import Push
from tests.marks import sampled

WITH_A_PRIOR = [name for name, spec in MODELS.items() if getattr(spec.cls, "normalised", True)]
GREYS = DataSpec("greys", 12, "quantised", image_shape=(3, 4), levels=5)


def run_of(pair: Pair, spec: DataSpec, *split: Tensor) -> Run:
    """A run of an untrained pair whose three splits are the same."""
    data, objective = Dataset(spec, split, split, split), ELBO()
    return Run(pair, data, objective, describe(pair, data, objective, TrainingOptions()), [])


@pytest.mark.parametrize("name", sampled(MODELS))
def test_every_registered_pair_gives_samples_and_reconstructions(name: str) -> None:
    pair, batch = MODELS[name].tiny()  # type: ignore[misc]  # registered with one
    B, D = batch[0].shape
    samples, again = prior_samples(pair, batch, 13), reconstructions(pair, batch)
    assert samples.x.shape == samples.mean.shape == (13, D)
    assert again.x.shape == again.mean.shape == (B, D)


@pytest.mark.parametrize("name", sampled(WITH_A_PRIOR))
def test_every_registered_pair_with_a_prior_is_walked_along(name: str) -> None:
    pair, batch = MODELS[name].tiny()  # type: ignore[misc]  # registered with one
    if not has_walk(pair, batch):
        with pytest.raises(UsageError, match="there is nothing to traverse"):
            latent_traversal(pair, batch, rows=2, columns=5)
        return
    before = torch.get_rng_state()
    walk = latent_traversal(pair, batch, rows=2, columns=5)
    assert torch.equal(walk.means, latent_traversal(pair, batch, rows=2, columns=5).means)
    assert torch.equal(torch.get_rng_state(), before)
    assert pair.training
    assert walk.means.shape == (len(walk.labels), 5, batch[0].shape[1])
    assert walk.kl.shape == (len(walk.labels),)
    assert walk.means.isfinite().all()


GIVEN = ("classifier", "cyclegan", "mixture_of_experts")
"""Pairs whose x is given, or made of what is given without chance."""


@pytest.mark.parametrize("name", sampled(MODELS))
def test_pictures_are_seeded_and_leave_everything_as_it_was(name: str) -> None:
    pair, batch = MODELS[name].tiny()  # type: ignore[misc]  # registered with one
    before = {key: value.clone() for key, value in pair.state_dict().items()}
    state = torch.get_rng_state()
    first, second, other = (prior_samples(pair, batch, 9, seed=seed).x for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert torch.equal(first, other) == (name in GIVEN)
    reconstructions(pair, batch)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in pair.state_dict().items())
    assert pair.training
    assert not pyro.get_param_store().keys()


def gaussian_pair(noise: float = 0.1) -> LinearGaussian:
    """x = W z + noise with the exact posterior as its guide."""
    pair = LinearGaussian(DataSpec("line", 3, "real"), 2, noise=noise)
    with torch.no_grad():
        pair.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 0.1], [0.0, 0.0]]))
    pair.set_exact_guide()
    return pair


def test_samples_have_the_models_moments() -> None:
    x = prior_samples(gaussian_pair(), (torch.zeros(2, 3),), 20_000).x
    # standard deviations are those of the model to 5 standard errors, sd / sqrt(2 num): false alarm below 1e-5
    expected = torch.tensor([4.01, 0.02, 0.01]).sqrt()
    assert ((x.std(0) / expected - 1).abs() < 5 / (2 * 20_000) ** 0.5).all()


def test_draws_are_data_and_means_are_not() -> None:
    pair, batch = MODELS["vae"].tiny()  # type: ignore[misc]  # registered with one
    for draws in (prior_samples(pair, batch, 9), reconstructions(pair, batch)):
        assert torch.equal(draws.x, draws.x.round())
        assert ((draws.mean > 0) & (draws.mean < 1)).all()


def test_a_reconstruction_under_the_exact_posterior_is_the_datum() -> None:
    pair = gaussian_pair(noise=1e-3)
    x = torch.randn(50, 2) @ pair.weight.detach().T  # (50, 3), on the model's plane
    torch.testing.assert_close(reconstructions(pair, (x,)).mean, x, rtol=0, atol=0.01)  # 10 noise sds


def test_the_latent_of_most_use_comes_first_with_its_kl() -> None:
    pair = gaussian_pair()
    x = torch.randn(100, 2) @ pair.weight.detach().T
    walk = latent_traversal(pair, (x,))
    assert walk.labels == ("z[0]", "z[1]")
    exact = pair.posterior(x)
    loc, variance = exact.mean, exact.variance
    kl = (0.5 * (variance + loc.square() - 1 - variance.log())).mean(0)
    torch.testing.assert_close(walk.kl, kl, rtol=0.1, atol=0.05)  # moments of 64 draws, meaned over 100 data


def test_a_traversal_moves_one_latent_along_its_prior() -> None:
    pair = gaussian_pair()
    walk = latent_traversal(pair, (torch.tensor([[1.0, 0.02, 0.0]]).repeat(8, 1),), columns=9)
    moved = walk.means[0, :, 0] / 2  # W[0, 0] = 2: the values of z[0]
    normal = dist.Normal(0.0, 1.0).icdf(walk.quantiles.float())
    torch.testing.assert_close(moved, normal, rtol=0, atol=0.35)  # the outer of 1,000 draws' quantiles: se 0.07
    assert (moved.diff() > 0).all()
    assert torch.equal(walk.means[0, :, 1], walk.means[0, :1, 1].expand(9))  # z[1] is held


class Chain(Pair):
    """z2 ~ N(0, 1), z1 ~ N(z2, 1), x ~ N((z1, z2), 0.1)."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(()))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z2 = pyro.sample("z2", dist.Normal(0.0, 1.0))
            z1 = pyro.sample("z1", dist.Normal(z2, 1.0))
            pyro.sample("x", dist.Normal(torch.stack([z1, z2], -1), 0.1).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            z1 = pyro.sample("z1", dist.Normal(self.loc + x[..., 0], 0.1))
            pyro.sample("z2", dist.Normal(z1, 0.1))


def test_a_moved_latent_takes_along_those_below_it_and_no_others() -> None:
    walk = latent_traversal(Chain(), (torch.full((5, 2), 50.0),))
    top, bottom = walk.means[walk.labels.index("z2")], walk.means[walk.labels.index("z1")]
    torch.testing.assert_close(top[:, 0].diff(), top[:, 1].diff())  # z1 follows z2, under the same noise
    assert (bottom[:, 0].diff() > 0).all()
    assert torch.equal(bottom[:, 1], bottom[:1, 1].expand(9))
    assert 49 < float(bottom[0, 1]) < 51  # z2 keeps the guide's value while z1 moves


class SharedMean(Pair):
    """One mean for all data, and the guide knows it; x ~ N(mean + z, 0.01)."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(30.0))

    def model(self, x: Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal((mean + z)[..., None], 0.01).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.sample("mean", dist.Normal(self.loc, 0.01))
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x[..., 0] - self.loc, 0.1))


def test_a_latent_outside_the_data_plate_comes_from_the_guide() -> None:
    batch = (torch.full((4, 1), 31.0),)
    assert 26 < float(prior_samples(SharedMean(), batch, 100).x.mean()) < 34  # the prior's mean is 0
    for few in (batch, (batch[0][:1],)):
        walk = latent_traversal(SharedMean(), few)
        assert walk.labels == ("z",)
        assert 26 < float(walk.means.mean()) < 34


def test_two_functions_have_pictures_as_a_pair_has() -> None:
    pair = Chain()
    x = torch.randn(5, 2)
    functions = ppgen.pair_from(pair.model, pair.guide)
    assert torch.equal(prior_samples(functions, (x,), 7).x, prior_samples(pair, (x,), 7).x)
    assert latent_traversal(functions, (x,)).labels == latent_traversal(pair, (x,)).labels


class NoMean(Chain):
    """A likelihood whose mean nobody knows, behind a network that counts what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z2 = pyro.sample("z2", dist.Normal(0.0, 1.0).expand([len(x)]))
            z1 = pyro.sample("z1", dist.Normal(z2, 1.0))
            loc = self.norm(torch.stack([z1, z2], -1).reshape(-1, 2)).reshape(*z1.shape, 2)
            squashed = dist.TransformedDistribution(dist.Normal(loc, 0.1), [transforms.SigmoidTransform()])
            pyro.sample("x", squashed.to_event(1), obs=x)


def test_a_likelihood_without_a_mean_shows_its_draws() -> None:
    draws = prior_samples(NoMean(), (torch.rand(5, 2),), 6)
    assert torch.equal(draws.x, draws.mean)


def test_statistics_of_batches_are_not_counted_up() -> None:
    pair = NoMean()
    reconstructions(pair, (torch.rand(5, 2),))
    assert pair.norm.num_batches_tracked == 0
    assert pair.norm.training


def test_no_site_of_the_shape_of_x_is_a_sentence() -> None:
    class Elsewhere(Chain):
        def model(self, x: Tensor) -> None:
            with self.data_plate(x):
                z2 = pyro.sample("z2", dist.Normal(0.0, 1.0))
                z1 = pyro.sample("z1", dist.Normal(z2, 1.0))
                pyro.sample("y", dist.Normal(z1, 0.1), obs=x[:, 0])

    with pytest.raises(UsageError, match=r"shape \(3, 2\) to draw from, found 'y' \(3,\)"):
        prior_samples(Elsewhere(), (torch.rand(3, 2),), 3)


def test_a_pair_whose_latents_are_all_shared_has_no_traversal() -> None:
    class Shared(SharedMean):
        def model(self, x: Tensor) -> None:
            mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
            with self.data_plate(x):
                pyro.sample("x", dist.Normal(mean[..., None], 0.01).to_event(1), obs=x)

        def guide(self, x: Tensor) -> None:
            pyro.sample("mean", dist.Normal(self.loc, 0.01))

    with pytest.raises(UsageError, match="nothing to traverse"):
        latent_traversal(Shared(), (torch.rand(3, 1),))
    assert 29 < float(prior_samples(Shared(), (torch.rand(3, 1),), 5).x.mean()) < 31


def test_a_grid_places_every_picture() -> None:
    tiles = torch.arange(5.0)[:, None].expand(5, 6) / 4
    pixels = pictures.grid(tiles, (2, 3), columns=2, gap=1)
    assert pixels.shape == (3 * 2 + 2, 2 * 3 + 1, 4)
    assert (pixels[3:5, 4:7] == [191, 191, 191, 255]).all()  # the fourth: 3/4 of 255
    assert (pixels[2] == 0).all()  # the gap
    assert (pixels[6:8, 4:7] == 0).all()  # no sixth


def test_a_grid_of_bands_has_wider_gaps_between_them() -> None:
    pixels = pictures.grid(torch.ones(4, 1), (1, 1), columns=1, gap=1, band=2)
    assert pixels[:, 0, 3].tolist() == [255, 0, 255, 0, 0, 255, 0, 255]


def test_a_grid_of_colours_keeps_them() -> None:
    pixels = pictures.grid(torch.tensor([[1.0, 0.0, 0.5]]), (3, 1, 1), columns=1)
    assert pixels.tolist() == [[[255, 0, 128, 255]]]


def test_greys_beyond_the_range_are_clipped() -> None:
    pixels = pictures.grid(torch.tensor([[-3.0, -1.0, 0.0, 1.0, 3.0]]), (1, 5), 1, grey=(-1, 1))
    assert pixels[0, :, 0].tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize(("shape", "columns"), [((2, 2), 0), ((2, 3), 1), ((2, 1, 2), 1)])
def test_a_grid_of_another_shape_is_a_sentence(shape: tuple[int, ...], columns: int) -> None:
    with pytest.raises(UsageError, match="expected pictures of shape"):
        pictures.grid(torch.ones(3, 4), shape, columns)


def test_a_png_holds_the_pixels_enlarged() -> None:
    from matplotlib.image import imread

    pixels = pictures.grid(torch.rand(3, 4), (2, 2), columns=2)
    back = imread(io.BytesIO(pictures.png(pixels, enlarged=3)))
    assert np.array_equal((back * 255).round().astype(np.uint8)[1::3, 1::3], pixels)


def greys() -> Run:
    return run_of(VAE(GREYS, 2, hidden=(4,)), GREYS, torch.randint(5, (6, 12)) / 4)


def labelled() -> Run:
    spec = DataSpec("bits", 6, "binary", num_classes=3)
    return run_of(CVAE(spec, 2, hidden=(4,)), spec, torch.rand(5, 6).round(), torch.tensor([0, 1, 2, 1, 0]))


def numbers() -> Run:
    return run_of(gaussian_pair(), DataSpec("line", 3, "real"), torch.randn(6, 3))


@pytest.mark.parametrize("make", [greys, labelled, numbers])
def test_samples_are_written_as_arrays(make: Callable[[], Run], tmp_path: Path) -> None:
    run = make()
    save_samples(run, 7, tmp_path / "new" / "samples.npz")
    with np.load(tmp_path / "new" / "samples.npz", allow_pickle=False) as arrays:
        draws = prior_samples(run.pair, conditions(run.data, 7), 7)
        assert np.array_equal(arrays["x"], draws.x.numpy())
        assert np.array_equal(arrays["mean"], draws.mean.numpy())
        assert ("y" in arrays) == (run.data.spec.num_classes is not None)


@pytest.mark.parametrize("make", [greys, labelled, numbers])
def test_samples_are_written_as_a_table(make: Callable[[], Run], tmp_path: Path) -> None:
    run = make()
    save_samples(run, 7, tmp_path / "samples.csv")
    names = (tmp_path / "samples.csv").read_text().splitlines()[0].split(",")
    table = np.loadtxt(tmp_path / "samples.csv", delimiter=",", skiprows=1)
    D = run.data.spec.num_features
    assert names[:D] == [f"x{i}" for i in range(D)]
    x = prior_samples(run.pair, conditions(run.data, 7), 7).x.numpy()
    assert np.array_equal(table[:, :D].astype(np.float32), x)
    if run.data.spec.num_classes is not None:
        assert names[D:] == ["y"]
        assert table[:, D].tolist() == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("make", [greys, labelled, numbers])
def test_samples_are_written_as_a_picture(make: Callable[[], Run], tmp_path: Path) -> None:
    from matplotlib.image import imread

    save_samples(make(), 7, str(tmp_path / "samples.png"))
    assert imread(tmp_path / "samples.png").shape[2] == 4
    assert [file.name for file in tmp_path.iterdir()] == ["samples.png"]


@pytest.mark.parametrize(
    ("num", "name", "message"),
    [
        (0, "samples.png", "must be at least 1, got 0"),
        (3, "samples.txt", r"\.png, \.csv, \.npz, got '.*samples\.txt'"),
        (3, "file/samples.png", "cannot make the folder"),
    ],
)
def test_what_cannot_be_written_is_a_sentence(num: int, name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=message):
        save_samples(greys(), num, str(tmp_path / name))
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_an_interpolation_under_a_normal_prior_turns_about_its_mean() -> None:
    """x = W z: along the path z(t) = cos(pi t / 2) a + sin(pi t / 2) b, and so is x."""
    pair = gaussian_pair()
    path = interpolation(pair, (torch.zeros(3, 3),), rows=3, columns=5)
    angles = 0.5 * math.pi * torch.linspace(0, 1, 5)[:, None]
    first, last = path.means[:, :1], path.means[:, -1:]
    assert path.rotated
    assert path.label == "z"
    torch.testing.assert_close(path.means, angles.cos() * first + angles.sin() * last)


def test_every_point_of_a_turned_path_is_as_the_prior_draws_it() -> None:
    """The middle of 5,000 paths of N(1, 4): variance 4 within 4 standard errors, false alarms 6 in 100,000."""
    a, b = (1 + 2 * torch.randn(2, 5000, dtype=torch.float64)).unbind(0)
    middle = _turned(torch.tensor(1.0, dtype=torch.float64), a, b, 0.5)
    assert float(middle.mean()) == pytest.approx(1, abs=4 * 2 / math.sqrt(5000))
    assert float(middle.var()) == pytest.approx(4, abs=4 * 4 * math.sqrt(2 / 5000))


def test_an_interpolation_under_any_other_prior_is_straight() -> None:
    spec = DataSpec("plane", 2, "real")
    path = interpolation(Push(spec, uniform=True), (torch.zeros(4, 2),), rows=4, columns=3)
    assert not path.rotated
    torch.testing.assert_close(path.means[:, 1], (path.means[:, 0] + path.means[:, 2]) / 2)
    assert path.means.abs().max() <= 1


def test_an_interpolation_needs_a_continuous_latent_of_each_datum() -> None:
    with pytest.raises(UsageError, match="to move along, found 'z', which is discrete"):
        interpolation(Mixture(), (torch.zeros(2, 1, dtype=torch.float64),))
    with pytest.raises(UsageError, match="latents have a prior to draw from, got RBM"):
        interpolation(RBM(DataSpec("bits", 4, "binary"), 2), (torch.zeros(2, 4),))
