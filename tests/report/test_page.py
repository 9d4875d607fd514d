"""The report is one page that needs nothing else, says what the run says, and changes nothing."""

import dataclasses
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn

import ppgen
from ppgen import Pair
from ppgen.data import Dataset, DataSpec
from ppgen.draws.paths import has_paths
from ppgen.draws.samples import has_walk
from ppgen.errors import UsageError
from ppgen.inference import ELBO, IWELBO, MMD, NonSaturating
from ppgen.models import RBM, VAE
from ppgen.objectives.objective import Objective
from ppgen.pages.elements import Section
from ppgen.pages.numbers import number
from ppgen.registry import MODELS
from ppgen.report import page as report
from ppgen.runs.config import describe
from ppgen.runs.run import Run
from ppgen.training.options import TrainingOptions
from tests.implicit import Push, ring

VOID = {"meta", "link", "img", "br", "hr", "input"}
WITH_DENSITY = [
    "Training",
    "Reconstructions",
    "Samples",
    "Latent traversal",
    "Configuration",
    "Versions",
]
IMPLICIT = ["Training", "Samples", "Configuration", "Versions"]
ENERGY_BASED = ["Training", "Reconstructions", "Samples", "Chains", "Free energies", "Configuration", "Versions"]
METRICS = [
    {"step": step, "epoch": step / 2, "seconds": step / 10, "split": split, "bound": -5.0 - 1 / step}
    for step in (1, 2, 3)
    for split in ("train", "valid")
]


class Page(HTMLParser):
    """The elements of a page; it refuses one that is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open += [] if tag in VOID else [tag]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += [data.strip()] if data.strip() else []

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def run_of(pair: Pair, spec: DataSpec, batch: tuple[Tensor, ...], directory: Path | None = None) -> Run:
    """A run of an untrained pair, with a made-up record."""
    spec = dataclasses.replace(spec, num_data=None)
    data, objective = Dataset(spec, batch, batch, batch), ELBO()
    return Run(pair, data, objective, describe(pair, data, objective, TrainingOptions()), list(METRICS), directory)


def tiny_run(name: str, directory: Path | None = None) -> Run:
    """The tiny case of a registered pair as a run."""
    pair, batch = MODELS[name].tiny()  # type: ignore[misc]  # registered with one
    spec = next(value for value in pair.arguments.values() if isinstance(value, DataSpec))
    return run_of(pair, spec, batch, directory)


def pictures_run(directory: Path | None = None) -> Run:
    """A run on pictures of 3 x 4 pixels."""
    spec = DataSpec("greys", 12, "quantised", image_shape=(3, 4), levels=5)
    return run_of(VAE(spec, 2, hidden=(4,)), spec, (torch.randint(5, (12, 12)) / 4,), directory)


@pytest.mark.parametrize("name", MODELS)
def test_every_registered_pair_gets_every_section(name: str) -> None:
    run = tiny_run(name)
    text = report.render(run)
    expected = WITH_DENSITY if run.pair.normalised else ENERGY_BASED
    expected = IMPLICIT if run.pair.implicit else expected
    found = re.findall(r"<h2 id=.*?>(.*?)</h2>", text)
    has = {"Latent traversal": run.pair.normalised and not run.pair.implicit and has_walk(run.pair, run.data.test)}
    expected = [title for title in expected if has.get(title, True)]
    assert [title for title in found if title not in ("Topics", "Interpolation")] == expected
    assert ("Topics" in found) == hasattr(run.pair, "topics")
    assert ("Interpolation" in found) == has_paths(run.pair, run.data.test)
    assert "no such picture" not in text


def test_a_run_on_pictures_shows_them() -> None:
    images = Page(report.render(pictures_run())).all("img")
    assert len(images) == 2 + 6 + 2  # reconstructions, samples, six paths of the interpolation, and two latents


def test_an_energy_based_run_shows_its_log_z_chains_energies_and_filters(tmp_path: Path) -> None:
    spec = DataSpec("bits", 12, "binary", image_shape=(3, 4))
    run = run_of(RBM(spec, 4), spec, (torch.rand(12, 12).round(),), tmp_path)
    found = run.evaluate(particles=3, log_z=ppgen.log_z(run.pair, num_temperatures=20, num_chains=10))
    page = Page(report.render(run))
    assert {"Normalising constant", "Chains", "Free energies", "Filters"} <= set(page.text)
    assert "Latent traversal" not in page.text
    assert "Likelihood" not in page.text
    assert found.log_z is not None
    assert found.sentence in page.text
    assert f"{number(found.log_z.effective_sample_size or 0, 1)} of 10" in page.text
    assert "4 filters." in [image["alt"] for image in page.all("img")]


@pytest.mark.parametrize("name", [*MODELS, "pictures"])
def test_the_page_is_whole_and_loads_nothing(name: str) -> None:
    text = report.render(pictures_run() if name == "pictures" else tiny_run(name))
    page = Page(text)
    links = [
        str(a[key]) for _, a in page.elements for key in ("src", "href", "xlink:href", "srcset", "data") if key in a
    ]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not re.search(r"https?:|<script|@import|url\((?!#)", text)
    ids = re.findall(r"\sid=\"([^\"]*)\"", text)
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)


@pytest.mark.parametrize("name", [*MODELS, "pictures"])
def test_every_picture_is_told_in_words(name: str) -> None:
    page = Page(report.render(pictures_run() if name == "pictures" else tiny_run(name)))
    assert all(image["alt"] for image in page.all("img"))
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in page.all("svg"))
    assert len(page.all("svg")) >= 2
    assert page.all("html")[0]["lang"] == "en"


def test_colours_follow_the_reader_and_none_is_left_fixed() -> None:
    text = report.render(tiny_run("linear_gaussian"))
    assert "prefers-color-scheme: dark" in text
    body = text[text.index("<body>") :]
    assert not re.search(r"(fill|stroke): #(?!ffffff)", body)
    defined = set(re.findall(r"(--[\w-]+):", text))
    assert set(re.findall(r"var\((--[\w-]+)\)", text)) <= defined


def test_the_headline_is_the_evaluation(tmp_path: Path) -> None:
    run = pictures_run(tmp_path)
    found = run.evaluate(particles=20)
    page = Page(report.render(run))
    assert number(found.log_likelihood) in page.text
    assert f"± {number(found.standard_error)}" in page.text
    assert found.sentence in page.text
    assert f"(K = 20, 12 data), {number(found.bits_per_dim or 0, 3)} bits per dimension" in found.sentence
    rows = [cell for point in found.curve for cell in (number(point.log_likelihood), number(point.standard_error))]
    assert all(row in page.text for row in rows)
    assert "Likelihood" in page.text


def test_a_run_without_evaluation_says_how_to_get_one(tmp_path: Path) -> None:
    page = Page(report.render(pictures_run(tmp_path)))
    assert "Last validation bound" in page.text
    assert "−5.33" in page.text
    assert any(f"ppgen evaluate {tmp_path}" in part for part in page.text)
    assert "Likelihood" not in page.text


def test_a_run_without_a_record_has_a_page() -> None:
    run = pictures_run()
    run.metrics = []
    page = Page(report.render(run))
    assert "Training" not in page.text
    assert "none yet" in page.text


def test_a_record_cut_before_its_first_validation_has_a_page() -> None:
    run = pictures_run()
    run.metrics = run.metrics[:1]
    assert "Training" in Page(report.render(run)).text


def test_an_objective_that_is_no_bound_is_not_called_one() -> None:
    class NoBound(ELBO):
        is_bound = False

    run = pictures_run()
    run.objective = NoBound()
    assert "Last validation objective" in Page(report.render(run)).text


def test_the_configuration_is_all_of_it() -> None:
    run = pictures_run()
    page = Page(report.render(run))
    options = {**run.config["training"], **run.config["versions"]}
    assert {key.replace("_", " ") for key in options} <= set(page.text)
    assert run.config["data"]["sha256"] in page.text
    assert f"{sum(p.numel() for p in run.pair.parameters()):,}" in page.text


def test_a_report_changes_nothing(tmp_path: Path) -> None:
    run = pictures_run(tmp_path)
    run.evaluate(particles=5)
    before = {key: value.clone() for key, value in run.pair.state_dict().items()}
    state, files = torch.get_rng_state(), {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    where = report.write_report(run)
    assert where == tmp_path / "report.html"
    assert {file.name for file in tmp_path.iterdir()} == {*files, "report.html"}
    assert all((tmp_path / name).read_bytes() == content for name, content in files.items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in run.pair.state_dict().items())
    assert run.pair.training
    assert run.metrics == METRICS
    assert not pyro.get_param_store().keys()


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    run = tiny_run("linear_gaussian", tmp_path)
    first = report.write_report(run).read_bytes()
    assert report.write_report(run, tmp_path / "again.html").read_bytes() == first


def test_a_run_without_a_directory_needs_a_path(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no directory"):
        report.write_report(pictures_run())
    assert report.write_report(pictures_run(), tmp_path / "page.html").is_file()


def test_names_are_text_and_not_markup() -> None:
    spec = DataSpec("<b>&amp;</b>", 12, "binary", image_shape=(3, 4))
    run = run_of(VAE(spec, 2, hidden=(4,)), spec, (torch.rand(3, 12).round(),))
    page = Page(report.render(run))
    assert not page.all("b")
    assert "<b>&amp;</b>" in page.text


def test_a_new_section_is_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    def weather(run: Run) -> Section:
        return Section("Weather", "fair", table=(("wind", "calm"),))

    monkeypatch.setattr(report, "SECTIONS", [weather, lambda run: None])
    page = Page(report.render(pictures_run()))
    assert {"Weather", "fair", "wind", "calm"} <= set(page.text)
    assert len(page.all("section")) == 1


class Regression(Pair):
    """Nothing but a number is observed, and x is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(12))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("total", dist.Normal(z + x @ self.weight, 1.0), obs=x.sum(-1))

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x @ self.weight, 1.0))


def test_a_pair_that_makes_no_x_says_so_where_pictures_would_be() -> None:
    run = pictures_run()
    run.pair = Regression()
    text = report.render(run)
    assert text.count("There is no such picture of this pair: expected an observed site") == 4


def test_functions_with_an_autoguide_get_a_page() -> None:
    def model(x: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(torch.zeros(12), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    spec = DataSpec("numbers", 12, "real")
    run = run_of(ppgen.pair_from(model, AutoNormal(model)), spec, (torch.randn(7, 12),))
    text = report.render(run)
    assert "There is no such picture of this pair" not in text
    assert "Latent traversal" not in text  # no datum has a latent
    assert "Interpolation" not in text


def test_the_page_of_a_trained_run_tells_its_training(tmp_path: Path) -> None:
    data = ppgen.load_data("digits")
    pair = VAE(data.spec, 2, hidden=(4,))
    run = ppgen.fit(pair, data, IWELBO(num_particles=2), steps=3, eager=True, out=tmp_path / "run")
    page = Page(report.write_report(run).read_text(encoding="utf-8"))
    assert any(part.startswith("3 steps, 0.0 passes") for part in page.text)
    assert f"{number(run.metrics[-1]['bound'])}" in page.text
    assert any("iwelbo" in part and "num particles = 2" in part for part in page.text)


def test_a_report_imports_matplotlib_late_and_never_pyplot() -> None:
    code = (
        "import sys, ppgen.report.page, ppgen.pages.pictures, torch\n"
        "assert 'matplotlib' not in sys.modules and 'jinja2' not in sys.modules\n"
        "ppgen.pages.pictures.png(ppgen.pages.pictures.grid(torch.ones(1, 4), (2, 2), 1))\n"
        "from ppgen.pages.charts import Curve, plot_curves\n"
        "plot_curves([Curve('', [1], [1])], x_label='', y_label='').svg('one point')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], check=True)


def trained(data: Dataset, objective: Objective, pair: Pair, out: Path, steps: int = 4) -> tuple[Run, Page]:
    """A run of a few steps, evaluated, and its page."""
    run = ppgen.fit(pair, data, objective, steps=steps, batch_size=8, validate_every=2, eager=True, out=out)
    run.evaluate(particles=2, num_samples=50)
    return run, Page(report.render(run))


def test_the_page_of_an_implicit_pair_says_that_its_number_is_no_likelihood(tmp_path: Path) -> None:
    data = ring(60)
    run, page = trained(data, MMD(), Push(data.spec), tmp_path)
    assert "Test log-likelihood under a Parzen window" in page.text
    assert any("of 50 samples, not the model's likelihood" in part for part in page.text)
    assert {"Measures", "modes covered", "parzen sigma", "two sample p value"} <= set(page.text)
    assert not {"Likelihood", "Reconstructions", "Latent traversal"} & set(page.text)
    assert run.evaluation is not None
    assert {measure.meaning for measure in run.evaluation.measures} <= set(page.text)


def test_an_implicit_pair_that_was_not_evaluated_has_no_number_in_its_place(tmp_path: Path) -> None:
    data = ring(60)
    run = ppgen.fit(Push(data.spec), data, MMD(), steps=2, batch_size=8, eager=True, out=tmp_path)
    assert report.headline(run).value == "none yet"
    assert report.headline(run).unit == ""
    assert "gives measures of its samples" in report.headline(run).notes[0]


def test_points_stand_beside_data_and_modes_at_the_end_and_over_training(tmp_path: Path) -> None:
    data = ring(60)
    _, page = trained(data, MMD(), Push(data.spec), tmp_path)
    labels = [str(chart["aria-label"]) for chart in page.all("svg")]
    assert "60 test data beside 500 samples." in labels
    assert "500 samples after 0, 1, 2 and 4 steps." in labels
    assert any("Crosses: the known modes." in part for part in page.text)


def test_pictures_over_training_are_a_grid_of_moments(tmp_path: Path) -> None:
    spec = DataSpec("greys", 12, "quantised", image_shape=(3, 4), levels=5)
    train, valid, test = ((torch.randint(5, (12, 12)) / 4,) for _ in range(3))
    _, page = trained(Dataset(spec, train, valid, test), ELBO(), VAE(spec, 2, hidden=(4,)), tmp_path)
    assert "10 samples after 0, 1, 2 and 4 steps." in [image["alt"] for image in page.all("img")]


def test_every_player_has_a_chart_of_its_own_loss(tmp_path: Path) -> None:
    data = ring(60)
    run, page = trained(data, NonSaturating(hidden=(4,)), Push(data.spec), tmp_path)
    labels = " ".join(str(chart["aria-label"]) for chart in page.all("svg"))
    for player in ("critic", "generator"):
        loss = [line[f"{player}/loss"] for line in run.metrics if line["split"] == "train"]
        assert f"train {player} loss: {number(loss[0])} at first, {number(loss[-1])} at last." in labels
    assert "valid critic loss" in labels
    assert "valid generator loss" not in labels
    assert "critic real" in labels
    assert any("validation is of the critic alone" in part for part in page.text)


def test_the_loss_of_an_objective_without_a_bound_is_drawn_with_one_sign(tmp_path: Path) -> None:
    data = ring(60)
    run, page = trained(data, MMD(), Push(data.spec), tmp_path)
    valid = [line["loss"] for line in run.metrics if line["split"] == "valid"]
    labels = " ".join(str(chart["aria-label"]) for chart in page.all("svg"))
    assert f"valid loss: {number(valid[0])} at first, {number(valid[-1])} at last." in labels


def test_a_page_is_made_without_the_pictures_of_a_damaged_file(tmp_path: Path) -> None:
    data = ring(60)
    run, _ = trained(data, MMD(), Push(data.spec), tmp_path)
    (tmp_path / "snapshots.safetensors").write_bytes(b"cut")
    again = dataclasses.replace(run)  # has read nothing yet
    assert any("it holds pictures alone: delete it" in part for part in Page(report.render(again)).text)
