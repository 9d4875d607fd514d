"""``ppgen compare``: what it prints and writes, that its file makes it again, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.cli_cases import USER_FILE, run

TINY = ["compare", "sbn", "--data", "digits", "-M", "layers=(2,)", "--eager"]
QUICK = ["--draws", "32", "--batch-size", "4"]
FEW = ["--objectives", "reinforce, vimco(num_particles=2)"]

DISCRETE = """
import pyro
import pyro.distributions as dist

from base import Mine


class Counts(Mine):
    def draw(self, logits):
        return pyro.sample("z", dist.Poisson(logits.exp()).to_event(1))

    def model(self, x):
        with self.data_plate(x):
            self.observe(self.draw(x.new_zeros(self.latent_dim)), x)

    def guide(self, x):
        with self.data_plate(x):
            self.draw(self.encoder(x))


class Units(Counts):
    def draw(self, logits):
        return pyro.sample("z", dist.Bernoulli(logits=logits).to_event(1))


class Crashes(Mine):
    calls = 0

    def observe(self, z, x):
        self.calls += 1
        if self.calls > 1:
            raise KeyError("the second call")
        super().observe(z, x)
"""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "base.py").write_text(USER_FILE)
    (tmp_path / "my.py").write_text(DISCRETE)


def rows(file: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(file).read_text().splitlines()))


def test_it_prints_a_table_and_a_paragraph_and_writes_nothing_unasked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = set(tmp_path.iterdir())
    given = run(capsys, *TINY, *QUICK, *FEW)
    assert given.code == 0
    assert "reinforce" in given.out
    assert "vimco(K=2)" in given.out
    assert "log p(x) is" in given.out
    assert "exactly (enumerated)" in given.out
    assert "--out DIR writes the page" in given.err
    assert set(tmp_path.iterdir()) - before <= {tmp_path / "__pycache__"}


def test_json_is_one_document_with_every_number(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run(capsys, *TINY, *QUICK, *FEW, "--json").out)
    assert (found["model"], found["data"], found["num_data"], found["curves"]) == ("sbn", "digits", 4, [])
    (point,) = found["points"]
    assert [one["label"] for one in point["objectives"]] == ["reinforce", "vimco(num_particles=2)"]
    assert [one["num_particles"] for one in point["objectives"]] == [2, 2]
    assert point["evidence"]["method"] == "enumerated"
    assert found["words"].startswith("As given, on 4 data,")


def test_the_folder_holds_page_numbers_and_a_file_that_makes_the_same_comparison_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ["--objectives", "vimco(num_particles=2)", "--train", "--steps", "2", "--seeds", "1", "--at", "init,2"]
    assert run(capsys, *TINY, *QUICK, *asked, "--out", "a").code == 0
    names = {"comparison.csv", "comparison.html", "comparison.json", "config.json", "curves.csv"}
    assert {file.name for file in Path("a").iterdir()} == names
    assert run(capsys, "compare", "--repeat", "a/config.json", "--out", "b").code == 0
    assert Path("a/config.json").read_text() == Path("b/config.json").read_text()
    first, again = (rows(f"{name}/comparison.csv") for name in "ab")
    for row in [*first, *again]:
        for timed in (f"{name}{end}" for name in ("seconds", "work") for end in ("", "_low", "_high")):
            del row[timed]
    assert first == again
    curves, repeated = (rows(f"{name}/curves.csv") for name in "ab")
    assert {(row["objective"], row["seed"], row["step"]) for row in curves} == {
        ("vimco(num_particles=2)", "0", step) for step in ("1", "2")
    }
    assert [row["valid_bound"] for row in curves] == [row["valid_bound"] for row in repeated]


def test_every_objective_is_compared_at_every_number_of_particles(capsys: pytest.CaptureFixture[str]) -> None:
    given = run(
        capsys, *TINY, *QUICK, "--objectives", "vimco, disarm(num_particles=2)", "--particles", "1,3,4", "--json"
    )
    labels = [one["label"] for one in json.loads(given.out)["points"][0]["objectives"]]
    assert labels == ["vimco(num_particles=3)", "vimco(num_particles=4)", "disarm(num_particles=2)"]


def test_a_pair_of_the_users_own_file_is_compared_and_so_are_objectives_of_pyro(
    capsys: pytest.CaptureFixture[str],
) -> None:
    objectives = ["--objectives", "reinforce, pyro.TraceGraph_ELBO", "-O", "num_particles=2"]
    given = run(capsys, "compare", "my.py:Units", "--data", "digits", *objectives, *QUICK, "--eager", "--json")
    found = json.loads(given.out)
    labels = [one["label"] for one in found["points"][0]["objectives"]]
    assert labels == ["reinforce", "TraceGraph_ELBO(num_particles=2)"]
    assert {row["reference"] for row in found["points"][0]["objectives"]} == {"exact"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["my.py:Counts", "--objectives", "rebar"], "site 'z' is drawn from Poisson"),
        (["base.py:Mine", "--objectives", "reinforce"], "REINFORCE is for discrete latents"),
        (["my.py:Crashes", "--objectives", "elbo,stl"], "KeyError: 'the second call'"),
        (["my.py:Units", "--objectives", "elbo"], "site 'z' of the guide is drawn from Bernoulli"),
        (["my.py:Units", "--objectives", "vimco(num_particles=1)"], "num_particles of VIMCO must be"),
        (["my.py:Units", "--objectives", "vimco", "--particles", "1"], "num_particles of VIMCO must be"),
        (["my.py:Units", "--objectives", "vimco,nvil,vimco"], "objective vimco is listed twice"),
        (["my.py:Units", "--objectives", "vimko"], "did you mean 'vimco'?"),
        (["my.py:Units", "--objectives", "rebar(temperature=0)"], "temperature of REBAR must be"),
        (["my.py:Units", "--objectives", "vimco(5)"], "expected objectives such as"),
        (["my.py:Units", "--objectives", "vimco", "-O", "num_particle=5"], "did you mean 'num_particles'?"),
        (["my.py:Units", "--objectives", "pyro.TraceElbo"], "pyro.infer has no ELBO 'TraceElbo'"),
        (["my.py:Units", "--objectives", "pyro.Trace_ELBO(particles=2)"], "did you mean 'num_particles'?"),
        (["my.py:Units", "--objectives", "vimco", "--blocks", "modle"], "did you mean 'model'?"),
        (["my.py:Units", "--objectives", "vimco", "--at", "first"], "got ['first']"),
        (["my.py:Units", "--objectives", "vimco", "--at", "init,2000"], "after 2000 steps of a training of 1000"),
        (["my.py:Units", "--objectives", "vimco", "--draws", "3"], "draws must be a whole number of at least 32"),
        (["my.py:Units", "--objectives", "vimco", "--particles", "2,x"], "--particles expects whole numbers"),
        (["my.py:Units", "--objectives", "vimco", "-O", "num_particles=2", "--particles", "2"], "both set K"),
        (["my.py:Units", "--objectives", "vimco", "--train", "--seeds", "0"], "--seeds must be at least 1"),
        (["my.py:Units", "--objectives", "vimco", "--minutes", "1"], "add --train"),
        (["my.py:Units", "--objectives", "vimco", "--train", "--minutes", "0"], "--minutes must be positive"),
        (["my.py:Units", "--objectives", "enumerate", "--trained-by", "vimco,nvil"], "--trained-by expects one"),
        (["my.py:Units"], "a comparison needs --objectives"),
        (["--repeat", "no.json"], "expected the config.json of a comparison, got 'no.json'"),
        (["--repeat", "base.py"], "is not what a comparison writes"),
        (["--repeat", "base.py", "--draws", "50"], "draws was given too"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    data = [] if "--repeat" in arguments else ["--data", "digits"]
    assert said in run(capsys, "compare", *arguments, *data, "--out", "none").sentence
    assert not Path("none").exists()


def test_a_folder_that_holds_a_comparison_is_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a").mkdir()
    Path("a/config.json").write_text("{}")
    assert "a holds a run or a comparison already" in run(capsys, *TINY, *FEW, "--out", "a").sentence
    assert Path("a/config.json").read_text() == "{}"


def test_other_data_than_those_of_the_file_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, *TINY, *QUICK, "--objectives", "reinforce", "--out", "a").code == 0
    config = json.loads(Path("a/config.json").read_text())
    config["data"]["sha256"] = "0" * 64
    Path("a/config.json").write_text(json.dumps(config))
    assert "are not those of the comparison" in run(capsys, "compare", "--repeat", "a/config.json").sentence
