"""The mechanism: questions that arise, findings, the verdict, and how it is kept."""

import json
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from markupsafe import escape
from pyro.infer.autoguide import AutoDelta

import ppgen
from ppgen.cli import main
from ppgen.data import Dataset, DataSpec
from ppgen.diagnostics import Case, Diagnosis, Finding, asks, core
from ppgen.diagnostics.chains import ChainBudget
from ppgen.diagnostics.finding import Status
from ppgen.diagnostics.questions.importance import _details
from ppgen.errors import UsageError
from ppgen.report.page import render
from tests.diagnostics.linear import data_of, exact, scaled

NAMES = ["importance", "collapse", "aggregate"]


def finding(status: Status, title: str = "Is it?") -> Finding:
    return Finding(question="one", title=title, status=status)


def diagnosis(*findings: Finding) -> Diagnosis:
    return Diagnosis(findings=findings, split="test", num_data=2, num_particles=3, seed=0)


def test_an_exact_guide_is_found_good() -> None:
    pair = exact(torch.randn(4, 2))
    found = ppgen.diagnose(pair, data_of(pair, 100), questions=["importance"])
    assert found.verdict == "good"
    assert found["importance"].number == 0
    assert found["importance"].advice == ""
    assert found["importance"].details.bound_gap == pytest.approx(0, abs=1e-9)
    assert found["importance"].details.effective_sample_size == pytest.approx(1000)


def test_a_guide_that_is_too_narrow_is_found_bad_and_its_worst_data_named() -> None:
    pair = scaled(exact(torch.randn(4, 2)), 0.4)
    found = ppgen.diagnose(pair, data_of(pair, 100), questions=["importance"])["importance"]
    assert found.status == "bad"
    k = found.details.per_datum.k
    assert [k[i] for i in found.details.worst] == sorted(k, reverse=True)[:10]
    assert "richer guide" in found.advice


def test_a_datum_whose_k_hat_is_the_threshold_is_not_above_it() -> None:
    details = _details(torch.randn(100, 4), torch.tensor([0.25, 0.5, 0.625, 0.75]), 0.5)
    assert details.share_above_threshold == 0.5
    assert details.share_above_limit == 0.25


@pytest.mark.parametrize("question", ["importance", "gaps", "aggregate", "calibration"])
def test_a_guide_at_one_point_is_no_posterior(question: str) -> None:
    """Its log-weights are all equal, as those of the exact posterior are."""
    pair = ppgen.pair_from(_point_model, _point_guide)
    found = ppgen.diagnose(pair, _numbers(), questions=[question])[question]
    assert (found.status, found.number) == ("unknown", None)
    assert "holds 'z' at one point" in found.meaning


@pytest.mark.parametrize("question", ["importance", "global_importance", "leave_one_out", "global_calibration"])
def test_an_autodelta_of_global_latents_is_no_posterior(question: str) -> None:
    pair = ppgen.pair_from(_global_model, AutoDelta(_global_model))
    found = ppgen.diagnose(pair, _numbers(), questions=[question])[question]
    assert (found.status, found.number) == ("unknown", None)
    assert "holds 'z' at one point" in found.meaning


def _numbers() -> Dataset:
    x = torch.randn(30, 1)
    return Dataset(DataSpec("own", 1, "real"), (x,), (x,), (x,))


def _point_model(x: torch.Tensor) -> None:
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
        pyro.sample("x", dist.Normal(z.unsqueeze(-1), 1.0).to_event(1), obs=x)


def _point_guide(x: torch.Tensor) -> None:
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Delta(pyro.param("slope", torch.tensor(0.5)) * x[:, 0]))


def _global_model(x: torch.Tensor) -> None:
    z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
    with pyro.plate("data", len(x), dim=-1):
        loc = z.unsqueeze(-1).expand(*z.shape[:-1], len(x), 1)
        pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)


def test_a_datum_whose_weights_are_not_finite_is_named() -> None:
    pair = exact(torch.randn(4, 2))
    data = data_of(pair, 10)
    pair.model = lambda x: LinearWithHole.model(pair, x)  # type: ignore[method-assign]
    found = ppgen.diagnose(pair, data, questions=["importance"])["importance"]
    assert found.status == "bad"
    assert found.details.not_finite == [3]
    assert "datum 3" in found.meaning


def test_a_question_that_breaks_down_at_a_datum_without_weights_is_unanswered_and_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A RuntimeError of a library is no answer there; of a pair whose weights are finite its line is named."""

    @asks("Does it hold?")
    def broken(case: Case) -> Finding | None:
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")

    monkeypatch.setattr(core, "QUESTIONS", [broken])
    pair = exact(torch.randn(4, 2))
    data = data_of(pair, 10)
    whole = ppgen.diagnose(pair, data)["broken"]
    assert whole.status == "unknown"
    assert "test_diagnose.py:" in whole.meaning
    assert "raised RuntimeError: Expected p_in >= 0 && p_in <= 1 to be true" in whole.meaning
    pair.model = lambda x: LinearWithHole.model(pair, x)  # type: ignore[method-assign]
    found = ppgen.diagnose(pair, data)["broken"]
    assert found.status == "unknown"
    assert found.meaning == "No answer: log-weights of datum 3 are not finite: look at what guide and model say there."


class LinearWithHole:
    """A model whose density at the fourth datum is NaN."""

    @staticmethod
    def model(pair: ppgen.models.LinearGaussian, x: torch.Tensor) -> None:
        hole = torch.zeros(len(x), dtype=x.dtype).index_fill(0, torch.tensor(3), torch.nan)
        type(pair).model(pair, x + hole[:, None])


def test_too_few_particles_for_a_k_hat_leave_the_question_unanswered() -> None:
    pair = scaled(exact(torch.randn(4, 2)), 0.8)
    found = ppgen.diagnose(pair, data_of(pair, 10), num_particles=50, questions=["importance"])["importance"]
    assert (found.status, found.number) == ("unknown", None)
    assert "draw 125 particles or more" in found.meaning


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        (("good", "good"), "good"),
        (("good", "unknown"), "unknown"),
        (("unknown", "warn"), "warn"),
        (("warn", "bad", "good"), "bad"),
        ((), "unknown"),
    ],
)
def test_the_verdict_is_the_gravest_status(statuses: tuple[Status, ...], verdict: Status) -> None:
    assert diagnosis(*map(finding, statuses)).verdict == verdict


def test_the_sentence_names_what_is_not_good() -> None:
    found = diagnosis(finding("bad", "Is it wide?"), finding("good"), finding("warn", "Is it used?"))
    assert found.sentence == "No: “Is it wide?” In part: “Is it used?”"


def test_json_gives_the_same_diagnosis_and_no_number_that_json_lacks() -> None:
    found = diagnosis(Finding(question="one", title="?", status="bad", number=0.5, details={"k": [float("inf"), 1.0]}))
    text = json.dumps(found.to_json(), allow_nan=False)
    again = Diagnosis.from_json(json.loads(text))
    assert again["one"].details == {"k": [None, 1.0]}
    assert again.to_json() == found.to_json()


def test_a_run_keeps_its_diagnosis_and_the_report_shows_it(run: ppgen.Run) -> None:
    found = ppgen.diagnose(run, num_data=20, num_particles=200, questions=NAMES)
    assert run.diagnosis is not None
    assert run.diagnosis.to_json() == found.to_json()
    page = render(run)
    assert "Is the guide to be believed?" in page
    for one in found.findings:
        assert escape(one.title) in page
        assert escape(one.held) in page
        assert one.limit.startswith(("at most ", "at least "))
    for title in ("Importance weights", "Units of the latents", "Aggregated posterior"):
        assert f"{title}</h2>" in page


def test_a_run_that_cannot_be_drawn_from_keeps_its_diagnosis_and_says_that_posterior_nc_is_left_out(
    run: ppgen.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **options: object) -> None:
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")

    monkeypatch.setattr("ppgen.runs.run.write_posterior", broken)
    with pytest.warns(UserWarning, match=r"posterior.nc is left out"):
        run.diagnose(out=tmp_path, num_data=20, num_particles=200, questions=["collapse"])
    assert [file.name for file in tmp_path.iterdir()] == ["diagnosis.json"]


def test_the_command_prints_one_document_or_a_table(
    run: ppgen.Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = ["--num-data", "20", "--particles", "200", "--ask", "importance", "--out", str(tmp_path / "new")]
    assert main(["diagnose", str(run.directory), "--json", *options]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["question"] for one in document["findings"]] == ["importance"]
    assert json.loads((tmp_path / "new" / "diagnosis.json").read_text()) == document
    assert main(["diagnose", str(run.directory), *options]) == 0
    assert "Do the guide's draws" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--num-data", "100000"], "num_data must lie between 2 and"),
        (["--ask", "importence"], "did you mean 'importance'?"),
        (["--particles", "1"], "num_particles must be at least 2, got 1"),
        (["--split", "tset"], "unknown split 'tset': did you mean 'test'?"),
    ],
)
def test_bad_input_is_one_sentence(
    run: ppgen.Run, options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diagnose", str(run.directory), *options]) == 2
    assert sentence in capsys.readouterr().err


def test_a_run_without_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(tmp_path)]) == 2
    assert "expected a run at" in capsys.readouterr().err


def test_a_pair_without_data_is_refused() -> None:
    with pytest.raises(UsageError, match=r"expected data beside the pair, or a run"):
        ppgen.diagnose(exact(torch.randn(4, 2)))


def half(x: torch.Tensor, weight: float, lengths: list[int] | None = None) -> None:
    """Three given data, and arguments that are none."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
        pyro.sample("x", dist.Normal(weight * z, 1.0), obs=x)


def half_guide(x: torch.Tensor, weight: float, lengths: list[int] | None = None) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.4 * x, 0.9))


@pytest.mark.parametrize(("lengths", "divisible"), [(None, True), ([1, 2, 3], False)], ids=["rows", "a list of rows"])
def test_arguments_that_are_no_columns_are_diagnosed_as_they_are(
    lengths: list[int] | None, divisible: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = ChainBudget(warmup=50, num_draws=150)
    monkeypatch.setattr("ppgen.diagnostics.chains.ChainBudget", lambda: budget)
    pair, x = ppgen.pair_from(half, half_guide), torch.tensor([0.3, -1.0, 0.7])
    found = ppgen.diagnose(pair, (x, 0.5, lengths), num_particles=200, questions=["importance", "reference"])
    assert (found.split, found.num_data) == ("train", 3)
    assert found["importance"].number is not None
    assert (found["reference"].number is not None) == divisible
    assert divisible or "its arguments are no columns" in found["reference"].meaning
    with pytest.raises(UsageError, match="one split, 'train', and 'test' was asked for"):
        ppgen.diagnose(pair, (x, 0.5, lengths), split="test")


def test_a_model_without_arguments_is_diagnosed(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = ChainBudget(num_chains=2, warmup=50, num_draws=150)
    monkeypatch.setattr("ppgen.diagnostics.chains.ChainBudget", lambda: budget)

    def model() -> None:
        bias = pyro.sample("bias", dist.Normal(0.0, 1.0))
        pyro.sample("seen", dist.Normal(bias, 1.0), obs=torch.tensor(0.7))

    def guide() -> None:
        pyro.sample("bias", dist.Normal(torch.tensor(0.35), 0.5**0.5))

    found = ppgen.diagnose(ppgen.pair_from(model, guide, data_plate=""), (), num_particles=200)
    assert found.num_data == 1
    assert found["importance"].status == "good"
    assert found["posterior_predictive"].number is not None
    assert "two data or more" in found["collapse"].meaning  # not good by a variance over one datum


def test_where_the_pairs_own_code_takes_no_other_data_the_finding_names_its_line() -> None:
    def model(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z + torch.zeros(6), 1.0), obs=x)

    def guide(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.7))

    found = ppgen.diagnose(ppgen.pair_from(model, guide), torch.randn(6), num_particles=200, questions=["reference"])
    assert found["reference"].status == "unknown"
    assert "test_diagnose.py" in found["reference"].meaning
    assert "torch.zeros(6)" in found["reference"].meaning
