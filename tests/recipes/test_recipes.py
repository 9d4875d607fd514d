"""Every recipe is one that can be made; what is no recipe is refused in a sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch

from ppgen.arguments import as_typed, check_names
from ppgen.data import DataSpec
from ppgen.factory import make_objective, make_pair, takes_labels
from ppgen.files.documents import FORMAT
from ppgen.pairs import Program
from ppgen.recipes import Recipe, read_recipe, recipe, recipes
from ppgen.recipes.recipe import in_words
from ppgen.recipes.table import families, markdown
from ppgen.registry import DATA, MODELS
from tests.cli_cases import RECIPE, files, run

Capture: TypeAlias = pytest.CaptureFixture[str]


def spec_for(data: str, options: Mapping[str, Any]) -> DataSpec:
    """Of data like those, in small."""
    if data == "affine_moons":
        paired = options.get("paired", "held_out")
        return DataSpec(data, 2, "real", num_data=30, source=DataSpec("moons", 2, "real"), paired=paired)
    if options.get("binarize") == "dequantise":
        return DataSpec(data, 64, "real", image_shape=(8, 8), levels=17, num_data=30)
    if options.get("binarize") == "none":
        return DataSpec(data, 64, "quantised", image_shape=(8, 8), levels=17, num_classes=10, num_data=30)
    if DATA[data].cls.__module__.endswith(("twenty_news", "bars")):
        return DataSpec(data, 12, "counts", num_data=30, length=20)
    if data in ("ring", "grid"):
        return DataSpec(data, 2, "real", num_data=30)
    return DataSpec(data, 64, "binary", image_shape=(8, 8), num_classes=10, num_data=600)


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_can_be_made(name: str) -> None:
    """Its pair, of smaller data, takes its objective; options of training and of the data are such as there are."""
    made = recipe(name)
    job = made.settings.job()
    check_names(name, DATA[job.data].cls, job.data_options)
    spec = spec_for(job.data, job.data_options)
    pair = make_pair(job.model, spec, **as_typed(MODELS[job.model].cls, job.model_options))
    y = torch.tensor([0, 1, -1 if job.model == "ss_vae" else 2])
    num_rows = spec.num_data if spec.observation == "counts" else 3  # Gibbs moves all the data at once
    x = torch.ones(num_rows or 3, spec.num_features)
    batch = (x, x) if spec.source else (x, y)[: 2 if takes_labels(job.model, job.model_options) else 1]
    assert job.made_objective().refuses(Program(pair.model, pair.guide), batch) is None
    assert made.numbers
    assert made.budget
    assert made.summary
    assert name.startswith(f"{job.model}-{job.data}")
    assert made.short().settings.job().options.seed == job.options.seed


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_an_objective_that_is_recommended_for_it(name: str) -> None:
    tiny = MODELS[name].tiny
    assert tiny is not None
    pair, batch = tiny()
    kind = next(value for value in pair.arguments.values() if isinstance(value, DataSpec)).observation
    found = MODELS[name].recommended_for(kind)
    assert found is not None
    objective = make_objective(found.objective, **found.options)
    assert objective.refuses(Program(pair.model, pair.guide), batch) is None


def test_a_number_is_written_to_two_digits_of_its_error_or_as_it_is_known() -> None:
    assert [
        in_words(one) for one in ((-89.1432, 0.2312), (0.961, 0.006), (225, 2), (-126.8, 0.4), -137.64, 1172, 0.24)
    ] == [
        "-89.14 ± 0.23",
        "0.961 ± 0.006",
        "225 ± 2",
        "-126.8 ± 0.4",
        "-137.64",
        "1,172",
        "0.24",
    ]


def test_the_table_of_a_family_has_its_recipes_alone() -> None:
    whole = markdown()
    assert whole.count("\n") == 2 + sum(len(one.numbers) for one in recipes().values())
    assert sum(markdown(family).count("\n| `") for family in families()) == len(recipes())
    assert "prodlda-20news" not in markdown("energy")


def test_the_list_as_json_holds_the_files(capsys: Capture) -> None:
    found = json.loads(run(capsys, "recipes", "--json").out)
    assert found.keys() == recipes().keys()
    assert found["lda-20news"]["published"][0]["numbers"]["perplexity"] == 728
    assert found["lda-20news"]["reached"][0]["date"] == "2026-11-21"
    assert "vae-digits-iwelbo" in run(capsys, "recipes").out


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ('name = "elbo"', 'nam = "elbo"', "'objective.name' is missing"),
        ("[training]", "[trainin]", "there is no key 'trainin': did you mean 'training'? Known names: budget, data, "),
        ("particles = 20", "partcles = 20", "'evaluation': there is no key 'partcles': did you mean 'particles'?"),
        ("particles = 20", "particles = 0", "'evaluation.particles': expected greater than or equal to 1, got 0"),
        ('["importance"]', '["importanc"]', "got 'importanc': did you mean 'importance'?"),
        ("-3.5", '"low"', "'reached.0.numbers.log_likelihood"),
        ("2026-01-02", '"soon"', "'reached.0.date'"),
        ("[model]", "[model", "it is no TOML"),
        ("[model]", "[[model]]", "'model'"),
        ("[model]", f"format = {FORMAT + 1}\n[model]", f"is of format {FORMAT + 1}"),
        ('"linear_gaussian"\noptions = { l', '"linear_gausian"\noptions = { l', "did you mean 'linear_gaussian'?"),
        ("latent_dim", "latentdim", "no option 'latentdim': did you mean 'latent_dim'?"),
        ('name = "linear_gaussian"\noptions = { num_f', 'name = "20new"\noptions = { num_f', "did you mean '20news'?"),
        ('"elbo"', '"elb"', "got 'elb': did you mean 'elbo'?"),
        ("steps = 30", "step = 30", "training has no option 'step': did you mean 'steps'?"),
        ("steps = 30", "steps = 0", "steps must be a whole number of at least 1, got 0."),
    ],
)
@pytest.mark.usefixtures("in_an_empty_folder")
def test_what_is_no_recipe_is_refused_and_nothing_is_written(capsys: Capture, was: str, now: str, said: str) -> None:
    assert was in RECIPE
    Path("mine.toml").write_text(RECIPE.replace(was, now, 1))
    before = files(Path())
    assert said in run(capsys, "reproduce", "mine.toml").sentence
    assert files(Path()) == before


@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_recipe_that_is_not_there_or_whose_data_are_not_is_refused(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPGEN_DATA", str(Path().absolute()))
    assert "got 'lda-20new': did you mean 'lda-20news'?" in run(capsys, "reproduce", "lda-20new").sentence
    assert "got 'none.toml', which is none" in run(capsys, "reproduce", "none.toml").sentence
    assert run(capsys, "reproduce", "lda-20news", "--short").sentence
    assert files(Path()) == {}


@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_recipe_is_trained_evaluated_diagnosed_and_held_against_what_was_published(capsys: Capture) -> None:
    Path("mine.toml").write_text(RECIPE)
    given = run(capsys, "reproduce", "mine.toml", "--short")
    assert given.code == 0
    likelihood, bound = [line for line in given.out.splitlines() if ": here" in line or "here " in line]
    assert likelihood.startswith("log_likelihood: published -2.0 ± 0.5, here -")
    assert likelihood.endswith(" (before: -3.5)")
    assert bound.startswith("valid_bound: here -")
    assert "test, 5 data: 1 question" in given.out
    assert "not what the recipe reaches" in given.out
    folder = Path("runs", "mine")
    assert {"config.json", "evaluation.json", "diagnosis.json", "checkpoint.safetensors"} <= set(files(folder))
    assert json.loads((folder / "config.json").read_text())["training"]["steps"] == 3
    assert "holds a run already" in run(capsys, "reproduce", "mine.toml").sentence


def test_a_short_recipe_has_a_tenth_of_each(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(RECIPE)
    short = read_recipe(tmp_path / "mine.toml").short()
    assert isinstance(short, Recipe)
    assert short.training == {"steps": 3, "eager": True}
    assert (short.evaluation.particles, short.evaluation.num_data, short.evaluation.log_z) == (2, None, {})
    assert (short.diagnosis.num_data, short.diagnosis.num_particles) == (5, 100)
    assert recipe("rbm-binarized_mnist-long").short().evaluation.log_z == {"num_temperatures": 4000, "num_chains": 200}
