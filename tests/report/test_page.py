"""The report is one page that needs nothing else, says what the run says, and changes nothing."""

import functools
import re
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn

import ppgen
from ppgen import Pair
from ppgen.chains.recall import AssociativeMemory
from ppgen.data import DataSpec
from ppgen.draws.codes import has_codes
from ppgen.draws.completions import completes, upper_half
from ppgen.draws.paths import has_paths
from ppgen.draws.samples import has_walk
from ppgen.errors import UsageError
from ppgen.evaluation.coherence import topics_of
from ppgen.models import DBM, RBM, VAE, SparseCoding
from ppgen.pages.elements import Section
from ppgen.pages.numbers import number
from ppgen.registry import MODELS
from ppgen.report import page as report
from ppgen.report.filters import filters
from ppgen.runs.run import Run
from tests.marks import sampled
from tests.reported import METRICS, Page, pictures_run, run_of, tiny_run

WITH_DENSITY = [
    "Training",
    "Reconstructions",
    "Samples",
    "Latent traversal",
    "Configuration",
    "Versions",
]
IMPLICIT = ["Training", "Translations", "Reconstructions", "Samples", "Traversal of codes", "Configuration", "Versions"]
ENERGY_BASED = ["Free energies", "Training", "Reconstructions", "Samples", "Chains", "Configuration", "Versions"]

COMPLETED = "Completions of lower halves"

BY_KIND = ("Topics", "Interpolation", "Latent manifold", "Density", "Filters", "Recall", COMPLETED)
"""Sections of some: of topics, of continuous latents, of data in the plane, of pictures, of associative memories."""

PAGES = sampled(MODELS, 8)
"""Every eighth pair, and all of them among the thorough tests; their pictures are drawn by other tests."""


@functools.cache
def rendered(name: str) -> tuple[Run, str]:
    """The tiny run of a registered pair, or the one on pictures, and its page: made once, and looked at alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        run = pictures_run() if name == "pictures" else tiny_run(name)
    return run, report.render(run)


@pytest.mark.parametrize("name", PAGES)
def test_every_registered_pair_gets_every_section(name: str) -> None:
    run, text = rendered(name)
    expected = WITH_DENSITY if run.pair.normalised else ENERGY_BASED
    expected = expected if run.pair.has_weights else IMPLICIT
    found = re.findall(r"<h2 id=.*?>(.*?)</h2>", text)
    has = {
        "Latent traversal": run.pair.normalised and not run.pair.implicit and has_walk(run.pair, run.data.test),
        "Reconstructions": run.pair.reconstructs or not (run.pair.implicit or run.pair.states_x),
        "Translations": run.pair.translates,
        "Traversal of codes": run.pair.implicit and has_codes(run.pair, run.data.test),
    }
    expected = [title for title in expected if has.get(title, True)]
    assert [title for title in found if title not in BY_KIND] == expected
    assert ("Topics" in found) == (topics_of(run.pair) is not None)
    assert ("Interpolation" in found) == has_paths(run.pair, run.data.test)
    assert (COMPLETED in found) == (
        run.data.spec.image_shape is not None and completes(run.pair, upper_half(run.data.spec))
    )
    assert ("Recall" in found) == isinstance(run.pair, AssociativeMemory)
    assert "no such picture" not in text


def test_a_run_on_pictures_shows_them() -> None:
    images = Page(rendered("pictures")[1]).all("img")
    assert len(images) == 2 + 6 + 2 + 1  # reconstructions, samples, six paths of the interpolation, two latents, plane


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


def test_a_run_of_layers_shows_the_receptive_fields_of_the_upper_ones(tmp_path: Path) -> None:
    spec = DataSpec("bits", 12, "binary", image_shape=(3, 4))
    section = filters(run_of(DBM(spec, (4, 3, 2)), spec, (torch.rand(12, 12).round(),), tmp_path))
    assert section is not None
    said = [figure.caption for figure in section.figures]
    assert said[1].startswith("What the 3 of 3 units of hidden layer 2 with the largest effect weigh each pixel with")
    assert len(said) == 3


def test_a_run_of_a_dictionary_shows_its_columns(tmp_path: Path) -> None:
    spec = DataSpec("numbers", 12, "real", image_shape=(3, 4))
    section = filters(run_of(SparseCoding(spec, 5), spec, (torch.randn(12, 12),), tmp_path))
    assert section is not None
    (figure,) = section.figures
    assert figure.caption.startswith("The 5 of 5 filters whose weights are largest, the largest first")


@pytest.mark.parametrize("name", [*PAGES, "pictures"])
def test_the_page_is_whole_and_loads_nothing(name: str) -> None:
    _, text = rendered(name)
    page = Page(text)
    links = [
        str(a[key]) for _, a in page.elements for key in ("src", "href", "xlink:href", "srcset", "data") if key in a
    ]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not re.search(r"https?:|<script|@import|url\((?!#)", text)
    ids = re.findall(r"\sid=\"([^\"]*)\"", text)
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)


@pytest.mark.parametrize("name", [*PAGES, "pictures"])
def test_every_picture_is_told_in_words(name: str) -> None:
    page = Page(rendered(name)[1])
    assert all(image["alt"] for image in page.all("img"))
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in page.all("svg"))
    assert len(page.all("svg")) >= 2
    assert page.all("html")[0]["lang"] == "en"


def test_colours_follow_the_reader_and_none_is_left_fixed() -> None:
    _, text = rendered("linear_gaussian")
    assert "prefers-color-scheme: dark" in text
    body = text[text.index("<body>") :]
    assert not re.search(r"(fill|stroke): #(?!ffffff)", body)
    defined = set(re.findall(r"(--[\w-]+):", text))
    assert set(re.findall(r"var\((--[\w-]+)\)", text)) <= defined


def test_the_configuration_is_all_of_it() -> None:
    run, text = rendered("pictures")
    page = Page(text)
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
    run = pictures_run(tmp_path)
    first = report.write_report(run).read_bytes()
    assert report.write_report(run, tmp_path / "again.html").read_bytes() == first


def test_a_run_without_a_directory_needs_a_path(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no directory"):
        report.write_report(pictures_run())
    assert report.write_report(pictures_run(), tmp_path / "page.html").is_file()


def test_the_links_stand_in_groups_in_the_order_of_the_page() -> None:
    text = rendered("vae")[1]
    nav = text[text.index("<nav") : text.index("</nav>")]
    assert re.findall(r"<span>(.*?)</span>", nav) == [
        "Fit",
        "Pictures",
        "Record",
    ]  # not diagnosed: nothing on guide and model
    assert re.findall(r"<a href=\"#(\d+)\">", nav) == [str(i) for i in range(1, 1 + text.count("<section"))]
    assert text.count('<div class="group">') == 3


def test_a_phone_reads_charts_at_eleven_pixels() -> None:
    """The smallest letters of a chart, in points of which the drawing's least width says how many pixels each has."""
    _, text = rendered("linear_gaussian")
    charts = re.findall(r"min-width: (\d+)px; max-width: \d+px\"><svg .*?viewBox=\"0 0 ([\d.]+) .*?</svg>", text, re.S)
    assert charts
    sizes = [
        float(size) for size in re.findall(r"font: ([\d.]+)px|font-size: ([\d.]+)px", text) for size in size if size
    ]
    assert all(float(least) / float(points) * min(sizes) >= 11 for least, points in charts)
    assert all(int(least) <= 360 for least, _ in charts)  # and shows them whole: 400 pixels less the margins


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


def test_a_report_imports_matplotlib_late_and_never_pyplot(imported: tuple[set[str], set[str]]) -> None:
    first, drawn = imported
    assert not {"matplotlib", "jinja2"} & first
    assert "matplotlib" in drawn
    assert "matplotlib.pyplot" not in drawn
