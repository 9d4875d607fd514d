"""What is to come fits the one loop: discrete and global latents, energies, two players, state between steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import ppgen
from ppgen.data import DataSpec
from ppgen.files.checkpoint import read_checkpoint
from ppgen.inference import ELBO
from tests import doubles

ENUMERATED = doubles.Enumerated()  # type: ignore[no-untyped-call]  # a dataclass without fields
OPTIONS: dict[str, Any] = {"eager": True, "batch_size": 20, "lr": 3e-2, "validate_every": 50}


def _data() -> ppgen.Dataset:
    x = doubles.data(300)
    spec = DataSpec("line", 1, "real", num_data=200)
    return ppgen.Dataset(spec, (x[:200],), (x[200:250],), (x[250:],))


def _valid(run: ppgen.Run, name: str) -> list[float]:
    return [line[name] for line in run.metrics if line["split"] == "valid"]


def test_an_enumerable_latent_trains() -> None:
    run = ppgen.fit(doubles.Mixture(200), _data(), ENUMERATED, steps=150, **OPTIONS)
    bounds = _valid(run, "bound")
    assert bounds[-1] > bounds[0]


def test_a_global_latent_trains_to_its_exact_bound() -> None:
    data, pair = _data(), doubles.Shared(data_size=200)
    with torch.no_grad():
        first = pair.exact_elbo(*data.train)
    ppgen.fit(pair, data, ELBO(num_particles=4), steps=300, **OPTIONS)
    with torch.no_grad():
        last = pair.exact_elbo(*data.train)
    assert last > first


def test_an_unnormalised_pair_trains_and_its_chains_go_from_step_to_step(tmp_path: Path) -> None:
    data, pair = _data(), doubles.Energy()
    ppgen.fit(pair, data, doubles.Contrast(num_chains=50), steps=400, out=tmp_path, **OPTIONS)
    chain = read_checkpoint(tmp_path / "checkpoint.safetensors")[0]["state.chain"]
    assert chain.shape == (50, 1)
    assert chain.std() > 0.1
    mean = (pair.loc / (1 - pair.coupling.square())).item()  # of the model, in closed form
    error = data.train[0].std().item() / 200**0.5
    assert mean == pytest.approx(data.train[0].mean().item(), abs=4 * error + 0.1)  # its noise and the last steps'


def test_two_players_take_unequal_steps_on_parameters_of_their_own() -> None:
    data, pair = _data(), doubles.Line()
    run = ppgen.fit(pair, data, doubles.Adversarial(critic_steps=3), steps=50, **OPTIONS)
    (line,) = [line for line in run.metrics if line["split"] == "train"]
    assert line["epoch"] == pytest.approx(50 * 4 / 10)  # turns times steps over batches an epoch
    assert {"critic/loss_of_critic", "generator/loss_of_generator"} <= line.keys()
    assert pair.loc.item() != doubles.Line.start["loc"]
    assert pair.slope.item() == doubles.Line.start["slope"]  # the guide gets no gradient from either player


@pytest.mark.parametrize(
    ("pair", "objective"),
    [
        (doubles.Energy, doubles.Contrast()),
        (doubles.Line, doubles.Adversarial()),
        (doubles.Mixture, ENUMERATED),
    ],
    ids=["state", "players", "discrete"],
)
def test_each_resumes_to_the_same_bits(tmp_path: Path, pair: type[ppgen.Pair], objective: ppgen.Objective) -> None:
    torch.manual_seed(0)
    ppgen.fit(pair(), _data(), objective, steps=9, out=tmp_path / "whole", schedule="constant", **OPTIONS)
    ppgen.fit(pair(), _data(), objective, steps=4, out=tmp_path / "cut", schedule="constant", **OPTIONS)
    ppgen.fit(pair(), _data(), objective, steps=9, out=tmp_path / "cut", schedule="constant", resume=True, **OPTIONS)
    one, two = (read_checkpoint(tmp_path / name / "checkpoint.safetensors")[0] for name in ("whole", "cut"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_chains_of_another_shape_are_refused_on_resume(tmp_path: Path) -> None:
    ppgen.fit(doubles.Energy(), _data(), doubles.Contrast(num_chains=5), steps=2, out=tmp_path, **OPTIONS)
    with pytest.raises(ppgen.UsageError, match="num_chains"):
        ppgen.fit(
            doubles.Energy(), _data(), doubles.Contrast(num_chains=6), steps=4, out=tmp_path, resume=True, **OPTIONS
        )


def test_a_player_without_parameters_is_refused() -> None:
    class Bare(doubles.Adversarial):
        def parameters(self, pair: torch.nn.Module, batch: Any) -> torch.nn.Module:
            return torch.nn.Module()

    with pytest.raises(ppgen.UsageError, match="no parameter of player 'critic'"):
        ppgen.fit(doubles.Line(), _data(), Bare(), steps=2, **OPTIONS)
