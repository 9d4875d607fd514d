"""What a comparison draws and says: the page, its plots, the Pareto front, the text of objectives."""

from __future__ import annotations

import csv
import dataclasses
import functools
import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import ppgen
from ppgen import UsageError, compare
from ppgen.chains.evidence import Budget, evidence_bounds
from ppgen.comparison import BlockResult, Comparison, ComparisonOptions, Interval, ObjectiveResult, PointResult, Verdict
from ppgen.comparison.charts import _apart, plot_signal
from ppgen.comparison.curves import Curves, train_each
from ppgen.comparison.front import pareto_front
from ppgen.comparison.listing import Listed, at_particles, parse_objectives, with_options
from ppgen.comparison.page import csv_of, spread, write_page
from ppgen.comparison.slopes import families
from ppgen.inference import ELBO, IWELBO, MCEM
from ppgen.measuring.statistics import Bias
from ppgen.models import VAE, LinearGaussian
from ppgen.training.options import TrainingOptions
from tests.marks import thorough
from tests.reported import Page


def at(value: float) -> Interval:
    return Interval(value, 0.9 * value, 1.1 * value)


def result(
    label: str,
    variance: float,
    seconds: float,
    *,
    bound: str | None = "elbo",
    unbiased: bool = True,
    z: float | None = 0.5,
    particles: int | None = 1,
) -> ObjectiveResult:
    """A made-up result of one block, biased where z is beyond 4."""
    bias = None if z is None else Bias(at(0.01 * z), at(0.01), z, 0.0, 1e-6 if abs(z) > 4 else 0.5, 0.1)
    verdict: Verdict = "not tested" if z is None else "biased" if abs(z) > 4 else "no bias seen"
    snr = at(1 / variance if variance else math.inf)
    block = BlockResult("all", 3, at(variance), snr, at(variance * seconds), bias, verdict)
    reference = None if z is None else "exact"
    return ObjectiveResult(
        label, bound, particles, unbiased, at(-20.0), 0.1, at(seconds), 64, True, reference, (block,)
    )


def comparison(*objectives: ObjectiveResult, points: tuple[int | str, ...] = ("init",)) -> Comparison:
    options = ComparisonOptions(draws=64, at=points)
    made = tuple(PointResult(point, index, None, "too many states", objectives) for index, point in enumerate(points))
    return Comparison(made, options, 8, 16, len(objectives))


def test_the_front_holds_who_is_beaten_by_nobody_at_both_and_is_not_biased() -> None:
    fast, slow = result("fast", 9.0, 1.0), result("slow", 1.0, 5.0)
    beaten = [result("beaten", 9.5, 2.0), result("same time", 10.0, 1.0)]
    wrong = [result("caught", 0.1, 0.1, z=-9.0), result("says so", 0.1, 0.1, unbiased=False)]
    for order in itertools.permutations([fast, slow, *beaten, *wrong]):
        assert pareto_front(order) == (fast, slow)
    assert pareto_front([]) == ()


def test_a_family_differs_in_particles_alone() -> None:
    found = families(
        [
            result("iwelbo(num_particles=20)", 1.0, 1.0, particles=20),
            result("iwelbo", 1.0, 1.0, particles=5),
            result("vimco(num_particles=2, centred=True)", 1.0, 1.0, particles=2),
            result("vimco(centred=True)", 1.0, 1.0, particles=5),
            result("vimco", 1.0, 1.0, particles=5),
            result("arm", 1.0, 1.0, particles=None),
        ]
    )
    assert {name: [one.num_particles for one in members] for name, members in found.items()} == {
        "iwelbo": [5, 20],
        "vimco(centred=True)": [2, 5],
    }


def test_names_stand_apart_in_their_order_and_about_their_places() -> None:
    places = [0.1, 0.11, 0.12, 0.9]
    moved = _apart(places, 0.05)
    assert all(b - a >= 0.05 - 1e-12 for a, b in itertools.pairwise(moved))
    assert sum(moved) == pytest.approx(sum(places))


BOUNDS = ((-3.0, -2.0), (-4.0, -1.0))


def test_the_page_stands_alone_and_draws_what_there_is(tmp_path: Path) -> None:
    ours = [result(f"dreg(num_particles={k})", 1 / k, 0.1 * k, particles=k) for k in (1, 5)]
    found = comparison(*ours, result("<b>", 2.0, 0.2, z=-9.0), result("other", 2.0, 0.1, bound=None, z=None))
    curves = Curves("dreg", "elbo", (1, 2), ((0.1, 0.2), (0.1, 0.3)), BOUNDS, BOUNDS, (-1.5, -1.6), 10)
    file = write_page(found, tmp_path / "page.html", title="a & b", curves=[curves], config={"model": {"name": "vae"}})
    text = file.read_text()
    page = Page(text)
    titles = ["Bias", "Variance against cost", "Signal to noise", "Values", "Gradients", "Training", "Configuration"]
    assert [title for title in page.text if title in titles][: len(titles)] == titles
    assert len(page.all("svg")) == 1 + 2 + 1 + 2
    assert "dreg(K=5)" in page.text
    assert "<b>" not in text.replace("&lt;b&gt;", "")
    assert "http" not in text.replace("http://www.w3.org", "")
    assert all(attributes["aria-label"] for attributes in page.all("svg"))


def test_the_page_of_several_points_says_which_is_which(tmp_path: Path) -> None:
    found = comparison(result("elbo", 1.0, 0.1), points=("init", 50, "trained"))
    text = write_page(found, tmp_path / "page.html").read_text()
    for when in ("as given", "after 1 step", "after training"):
        assert f"Bias {when}" in text


def test_the_first_line_says_what_to_use_what_is_biased_and_what_to_avoid(tmp_path: Path) -> None:
    """Work is variance times seconds: 0.5, 0.51, which is not told from it, and 48, 96 times as much."""
    others = [result("nvil", 0.1, 0.1, z=9.0), result("relaxed", 0.1, 0.1, unbiased=False, bound=None, z=None)]
    found = comparison(result("disarm", 5.0, 0.1), result("arm", 5.1, 0.1), *others, result("reinforce", 480.0, 0.1))
    said = "Use disarm or arm. Biased: nvil, relaxed. Avoid: reinforce (96 times the work)."
    assert found.lead == said
    assert said in Page(write_page(found, tmp_path / "page.html").read_text()).text
    assert comparison(others[1]).lead == "None is known to be unbiased. Biased: relaxed."
    both = comparison(result("elbo", 1.0, 0.1), result("dreg", 1.0, 0.1, bound="iwelbo"), points=("init", "trained"))
    assert both.lead == "After training: Use elbo for elbo; dreg for iwelbo."


def test_a_page_without_a_test_or_a_variance_says_so_and_is_whole(tmp_path: Path) -> None:
    exact = [result(f"sure(num_particles={k})", 0.0, 0.1, bound="iwelbo", z=None, particles=k) for k in (1, 2)]
    text = write_page(comparison(result("elbo", 1.0, 0.1, z=None), *exact), tmp_path / "page.html").read_text()
    assert "Nothing was tested: too many states" in text
    assert "Without variance, and not drawn: sure(K=1), sure(K=2)." in text
    assert len(Page(text).all("svg")) == 1


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        write_page(comparison(result("elbo", 1.0, 0.1)), tmp_path / "nowhere" / "page.html")


def test_the_page_of_a_real_comparison_can_be_written_from_python(tmp_path: Path) -> None:
    data = ppgen.load_data("digits")
    pair = VAE(data.spec, latent_dim=2, hidden=(4,))
    batch = data.draw(data.rows("train", slice(4)))
    found = compare(pair, batch, ["elbo", "stl"], draws=32, warmup=0, particles=20, eager=True)
    text = write_page(found, tmp_path / "page.html", title="vae").read_text()
    assert found.words().split(".")[0] in text
    first = next(csv.DictReader(csv_of(found.rows()).splitlines()))
    assert (first["objective"], first["num_particles"]) == ("elbo", "1")


def test_trainings_are_those_of_fit_one_a_seed_with_a_band_around_their_mean() -> None:
    data = ppgen.load_data("digits")

    def make(seed: int) -> ppgen.Pair:
        torch.manual_seed(seed)
        return VAE(data.spec, latent_dim=2, hidden=(4,))

    training = TrainingOptions(steps=4, validate_every=2, seed=7, eager=True)
    named = {"elbo": ELBO(), "iwelbo": IWELBO(num_particles=2), "pyro": object()}
    elbo, iwelbo = train_each(make, data, named, training, seeds=2, particles=5)
    assert (elbo.bound_name, iwelbo.bound_name) == ("elbo", "iwelbo(num_particles=2)")
    for seed in (0, 1):
        run = ppgen.fit(make(7 + seed), data, ELBO(), **vars(dataclasses.replace(training, seed=7 + seed)))
        train, valid = ([line for line in run.metrics if line["split"] == split] for split in ("train", "valid"))
        assert elbo.steps == tuple(line["step"] for line in valid)
        assert elbo.bounds[seed] == tuple(line["bound"] for line in valid)
        assert elbo.training_bounds[seed] == tuple(line["bound"] for line in train)
    low, high = elbo.band
    assert all(a <= m <= b for a, m, b in zip(low, elbo.mean, high, strict=True))
    assert len(elbo.likelihoods) == 2
    assert [row["step"] for row in elbo.rows()] == [2, 4, 2, 4]


def test_where_a_guide_is_not_trained_log_p_is_annealed_and_is_the_evidence_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = functools.partial(evidence_bounds, budget=Budget(num_powers=50, num_leapfrogs=2))
    monkeypatch.setattr("ppgen.comparison.curves.evidence_bounds", few)
    spec, x = ppgen.DataSpec("numbers", 3, "real"), 2 + torch.randn(9, 3)
    data = ppgen.Dataset(spec, (x,), (x,), (x,))

    def make(seed: int) -> LinearGaussian:
        torch.manual_seed(seed)
        pair = LinearGaussian(spec, 2)
        torch.nn.init.constant_(pair.guide_loc, 9.0)  # far from the posterior
        return pair

    training = TrainingOptions(steps=1, lr=1e-12, eager=True)
    truth = float(make(0).log_evidence(x).mean().detach())
    (found,) = train_each(make, data, {"mcem": MCEM(num_leapfrogs=1)}, training, seeds=1, particles=5)
    assert found.particles is None
    assert found.likelihood == pytest.approx(truth, abs=0.1)
    (by_guide,) = train_each(make, data, {"elbo": ELBO()}, training, seeds=1, particles=5)
    assert by_guide.likelihood is not None
    assert by_guide.likelihood < truth - 5


@pytest.mark.parametrize(("seconds", "steps"), [(25 + 10.5 / 200, 10), *thorough([(0.1, 1)])])
def test_trainings_of_one_length_in_seconds_take_as_many_steps_as_it_allows(
    seconds: float, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()  # a clock on which 200 turns take a second, and so does each of 25 validations
    monkeypatch.setattr("ppgen.comparison.curves.time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    data = ppgen.load_data("digits")
    training = TrainingOptions(steps=10**9, eager=True)

    def make(seed: int) -> ppgen.Pair:
        return VAE(data.spec, latent_dim=2, hidden=(4,))

    (found,) = train_each(make, data, {"elbo": ELBO()}, training, seeds=1, seconds=seconds, particles=5)
    assert found.steps[-1] == steps


def test_a_training_that_fails_is_an_answer_and_stops_no_other() -> None:
    data = ppgen.load_data("digits")
    training = TrainingOptions(steps=50, lr=1e30, eager=True)
    (found,) = train_each(lambda seed: VAE(data.spec, latent_dim=2, hidden=(4,)), data, {"elbo": ELBO()}, training)
    assert len(found.failures) == 3
    assert found.likelihood is None
    assert found.bounds == ()


def test_what_would_stop_every_training_stops_the_comparison() -> None:
    data = ppgen.load_data("digits")
    training = TrainingOptions(steps=2, eager=True)
    with pytest.raises(UsageError, match="expected a device"):
        train_each(
            lambda seed: VAE(data.spec, latent_dim=2, hidden=(4,)), data, {"elbo": ELBO()}, training, device="tpu"
        )


def test_objectives_are_read_from_text() -> None:
    text = "vimco(num_particles=5), reinforce(baseline=none, bound=iwelbo(num_particles=3)), pyro.TraceGraph_ELBO,"
    vimco, reinforce, pyros = parse_objectives(text)
    assert vimco == Listed("vimco", {"num_particles": 5})
    nested = {"name": "iwelbo", "options": {"num_particles": 3}}
    assert reinforce.options == {"baseline": "none", "bound": nested}
    assert reinforce.make().bound == IWELBO(num_particles=3)
    assert type(pyros.make()).__name__ == "TraceGraph_ELBO"
    for one in (vimco, reinforce, pyros):
        again = Listed(**one.config())
        assert again.config() == one.config()


def test_a_schedule_in_the_text_of_an_objective_is_a_schedule() -> None:
    (beta,) = parse_objectives("beta(beta=linear(0, 1, 10))")
    assert beta.make().schedules(5) == {"beta": 0.5}


@pytest.mark.parametrize("text", ["vimco(5)", "vimco(", "1", "a b", "vimco(**k)", "vimco] + [nvil"])
def test_text_that_names_no_objectives_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected objectives such as"):
        parse_objectives(text)


def test_shared_options_go_to_those_that_have_them_and_yield_to_their_own() -> None:
    listed = parse_objectives("vimco(num_particles=3), iwelbo, stl(bound=elbo)")
    shared = with_options(listed, {"num_particles": 7, "bound": "iwelbo"})
    assert [one.options for one in shared] == [
        {"num_particles": 3, "bound": "iwelbo"},
        {"num_particles": 7},
        {"num_particles": 7, "bound": "elbo"},
    ]
    several = at_particles(parse_objectives("vimco, iwelbo(num_particles=9)"), [1, 2])
    assert [one.options for one in several] == [{"num_particles": 2}, {"num_particles": 9}]


def test_numbers_are_said_to_three_digits_with_their_error_in_percent() -> None:
    assert spread(Interval(2.0, 1.9, 2.1)) == "2 ± 5%"
    assert spread(Interval(1.0, 0.904, 1.096)) == "1 ± 10%"
    assert spread(Interval(0.0, 0.0, 0.25)) == "< 0.25"
    assert spread(Interval(0.0, 0.0, 0.0)) == "0"


def test_a_ratio_that_noise_hides_is_not_drawn() -> None:
    silent = [result(f"a(num_particles={k})", 1.0, 0.1, particles=k) for k in (1, 2)]
    hidden = [dataclasses.replace(one, blocks=(dataclasses.replace(one.whole, snr=at(0.0)),)) for one in silent]
    shown = [result(f"b(num_particles={k})", 1.0, 0.1, particles=k) for k in (1, 2)]
    texts = [text.get_text() for text in plot_signal([*hidden, *shown], "all").figure.axes[0].texts]
    assert texts == ["b"]
