"""``ppgen evaluate`` of a pair without a density, and of data whose modes are known."""

import json
from pathlib import Path

import pytest

from tests.cli_cases import run

SMALL = ["-M", "hidden=[4]", "-D", "num_data=100", "--steps", "2", "--eager"]
GAN = ["train", "gan", "--data", "ring", "--objective", "nonsaturating", "-O", "hidden=[4]", *SMALL, "--out", "r"]
MEASURES = {"parzen_sigma", "modes_covered", "high_quality_share", "mmd_squared", "two_sample_p_value"}

Capture = pytest.CaptureFixture[str]

USER_FILE = """
import pyro
import pyro.distributions as dist
import torch

import ppgen


class Point(ppgen.Pair):
    implicit = True

    def __init__(self, spec):
        super().__init__(spec.num_data)
        self.loc = torch.nn.Parameter(torch.zeros(spec.num_features))

    def model(self, x):
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(x.shape[1]), 1.0).to_event(1))
            pyro.sample("x", dist.Delta(self.loc + z, event_dim=1), obs=x)

    def guide(self, x):
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x.new_zeros(x.shape[1]), 1.0).to_event(1))
"""

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def test_the_number_of_a_window_is_named_so_wherever_it_is_printed(capsys: Capture) -> None:
    assert run(capsys, *GAN).code == 0
    out = run(capsys, "evaluate", "r", "--num-samples", "60").out
    assert out.startswith("test: Parzen window ")
    assert "(of 60 samples, not the model's likelihood, 10 data)" in out
    assert "log p(x)" not in out
    assert "modes" in out
    assert "what it says" in out


def test_json_holds_every_measure_by_its_name(capsys: Capture) -> None:
    run(capsys, *GAN)
    found = json.loads(run(capsys, "evaluate", "r", "--num-samples", "60", "--json").out)
    assert found.keys() >= MEASURES
    assert found["method"] == "parzen"
    assert found["num_particles"] is None
    assert found["num_samples"] == 60
    assert found["high_quality_share_standard_error"] >= 0
    assert json.loads(Path("r/evaluation.json").read_text()) == found


def test_a_pair_with_a_density_is_measured_by_its_samples_where_they_are_asked_for(capsys: Capture) -> None:
    run(capsys, "train", "vae", "--data", "digits", "--objective", "elbo", "--steps", "2", "--eager", "--out", "v")
    plain = json.loads(run(capsys, "evaluate", "v", "--particles", "2", "--json").out)
    asked = json.loads(run(capsys, "evaluate", "v", "--particles", "2", "--num-samples", "20", "--json").out)
    assert "mmd_squared" not in plain
    assert "mmd_squared" in asked
    assert asked["log_likelihood"] == plain["log_likelihood"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--num-samples", "1"], "num_samples must be 2 or more (the pair states no density and is judged by them)"),
        (["--num-samples", "0"], "num_samples must be 2 or more"),
        (["--temperatures", "10"], "whose log Z is 0"),
        (["--num-data", "1"], "num_data must lie between 2 and 10"),
        (["--split", "tset"], "unknown split 'tset'"),
    ],
)
def test_what_makes_no_sense_for_a_pair_without_a_density_is_refused(
    capsys: Capture, options: list[str], expected: str
) -> None:
    run(capsys, *GAN)
    assert expected in run(capsys, "evaluate", "r", *options).sentence
    assert not Path("r/evaluation.json").exists()


def test_a_pair_of_a_users_file_is_evaluated_sampled_and_reported(capsys: Capture) -> None:
    Path("my.py").write_text(USER_FILE)
    train = ["train", "my.py:Point", "--data", "ring", "--objective", "mmd", "-D", "num_data=100", "--steps", "2"]
    assert run(capsys, *train, "--eager", "--out", "p").code == 0
    assert "name its file again (--model" in run(capsys, "evaluate", "p").sentence
    again = ["--model", "my.py:Point"]
    assert "Parzen window" in run(capsys, "evaluate", "p", "--num-samples", "50", *again).out
    assert run(capsys, "report", "p", *again).code == 0
    assert "not the model's likelihood" in Path("p/report.html").read_text().replace("&#39;", "'")
