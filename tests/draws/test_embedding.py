"""The mean latents of a datum are those of closed forms, and of long averages where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import ppgen
from ppgen import UsageError
from ppgen.draws import embedding
from ppgen.registry import MODELS
from ppgen.runs import load, save_embedding


class Chain(ppgen.Pair):
    """a ~ Bernoulli(x); b ~ Categorical of 3 by a; c ~ exp of a normal whose mean is torch's to say."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            a = pyro.sample("a", dist.Bernoulli(torch.full_like(x[:, 0], 0.5)))
            pyro.sample("b", dist.Categorical(torch.ones(3)))
            pyro.sample("c", dist.LogNormal(torch.zeros_like(a), 0.1))
            pyro.sample("x", dist.Normal(a[..., None], 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            a = pyro.sample("a", dist.Bernoulli(x[:, 0]))
            probs = torch.stack([0.2 + 0.6 * a, 0.5 - 0.4 * a, 0.3 - 0.2 * a], -1)
            pyro.sample("b", dist.Categorical(probs))
            pyro.sample("c", dist.LogNormal(x[:, 0].expand(a.shape), 0.1))


def test_means_are_averaged_over_the_latents_before() -> None:
    x = torch.tensor([[0.0], [0.25], [1.0]])
    found = embedding(Chain(), (x,), num_particles=4000)
    p = x[:, 0]
    expected = torch.stack([p, 0.2 + 0.6 * p, 0.5 - 0.4 * p, 0.3 - 0.2 * p, (p + 0.005).exp()], -1)
    assert found.names == ("a", "b[0]", "b[1]", "b[2]", "c")
    # 4,000 draws of a: standard errors of at most 0.6 * sqrt(0.1875 / 4000) = 0.0042, of which these are five
    torch.testing.assert_close(found.values, expected, atol=0.021, rtol=0)
    torch.testing.assert_close(found.values[:, 0], p)  # a has no latent before it


def test_particles_in_several_blocks_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppgen.pairs.log_weights._CELLS", 64)
    x = torch.tensor([[0.0], [0.25], [1.0]])
    torch.testing.assert_close(embedding(Chain(), (x,), num_particles=100).values[:, 0], x[:, 0])


def test_a_second_latent_is_averaged_over_the_first() -> None:
    pair, batch = ppgen.make_pair("sbn", ppgen.DataSpec("bits", 4, "binary"), layers=(3, 3)), (torch.eye(4),)
    one, many = (embedding(pair, batch, num_particles=num).values for num in (1, 50))
    torch.testing.assert_close(one[:, :3], many[:, :3])
    assert not torch.allclose(one[:, 3:], many[:, 3:])


def test_a_latent_with_a_known_mean_is_exact_and_leaves_the_random_state() -> None:
    pair, batch = _tiny("vae")
    before = torch.get_rng_state()
    one, other = embedding(pair, batch, seed=0), embedding(pair, batch, seed=1)
    assert torch.equal(one.values, other.values)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_energy_based_pair_has_the_probabilities_of_its_hidden_units() -> None:
    pair, (v,) = _tiny("rbm")
    expected = torch.sigmoid(v @ pair.weight + pair.hidden_bias)
    torch.testing.assert_close(embedding(pair, (v,)).values, expected)


@pytest.mark.parametrize(("name", "message"), [("gan", "GAN is implicit"), ("gmm", "draws no latent for a datum")])
def test_what_puts_data_nowhere_says_so(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        embedding(*_tiny(name))


def test_a_file_holds_the_split_in_its_order(a_run: Path, tmp_path: Path) -> None:
    run = load(a_run)
    found = save_embedding(run, tmp_path / "new" / "z.npz", split="valid")
    with np.load(tmp_path / "new" / "z.npz") as arrays:
        np.testing.assert_array_equal(arrays["z"], found.values.numpy())
        assert tuple(arrays["names"]) == found.names
    save_embedding(run, tmp_path / "z.csv", split="valid")
    header, *lines = (tmp_path / "z.csv").read_text().splitlines()
    assert header == "z[0],z[1]"
    assert len(lines) == run.data.size("valid")
    np.testing.assert_allclose(np.loadtxt(lines, delimiter=","), found.values, rtol=1e-6)


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        ("z.txt", {}, r"embeddings are written as .npz, .csv, .parquet, got '.*z.txt': name a file that ends so"),
        ("z.csv", {"split": "tset"}, "did you mean 'test'"),
        ("z.csv", {"num_particles": 0}, "num_particles must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_written_is_refused(
    a_run: Path, tmp_path: Path, file: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        save_embedding(load(a_run), tmp_path / file, **options)  # type: ignore[arg-type]  # as a careless user does
    assert not (tmp_path / file).exists()


def _tiny(name: str) -> tuple[ppgen.Pair, tuple[Tensor, ...]]:
    make = MODELS[name].tiny
    assert make is not None
    made: tuple[ppgen.Pair, tuple[Tensor, ...]] = make()
    return made
