"""Files of the user's own: executed once, with their folder on the path, and what they register is known."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ppgen.data import DataSpec, load_data
from ppgen.errors import UsageError
from ppgen.factory import make_objective, make_pair, objective_config
from ppgen.registry import MODELS
from ppgen.user_code import file_and_name, is_executed, is_named, module_of
from tests.own_code import own_code_forgotten

SPEC = DataSpec("numbers", 3, "real")
COUNT = (
    "from pathlib import Path\nplace = Path(__file__).with_name('count')\nplace.write_text(place.read_text() + 'x')\n"
)
PAIR = """
import pyro
import pyro.distributions as dist
import torch

import ppgen
from ppgen.inference import ELBO
from ppgen.registry import register_data, register_model, register_objective


@register_model("own_pair", summary="", reference="", year=2026)
class Own(ppgen.Pair):
    def __init__(self, spec, scale: float = 1.0):
        super().__init__()
        self.loc, self.scale = torch.nn.Parameter(torch.zeros(3)), scale

    def model(self, x):
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(self.loc, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, self.scale).to_event(1), obs=x)

    def guide(self, x):
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x, 1.0).to_event(1))


class Other(Own):
    pass


@register_objective("own_objective", summary="", reference="", year=2026)
class Mine(ELBO):
    pass


@register_data("own_data", summary="", reference="", year=2026)
def numbers(*, num: int = 20):
    return ppgen.dataset_from(torch.randn(num, 3))


def raw(num: int = 20):
    return {"train": torch.zeros(num, 3), "test": torch.ones(2, 3)}
"""


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    with own_code_forgotten():
        yield


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    (tmp_path / "count").write_text("")
    (tmp_path / "counted.py").write_text(COUNT + PAIR)
    return tmp_path / "counted.py"


def test_a_name_is_a_path_and_a_thing() -> None:
    assert file_and_name("a/b.py:C") == ("a/b.py", "C")
    assert [file_and_name(name) for name in ("vae", "b.py", "b.txt:C", "")] == [None] * 4


def test_a_file_is_executed_once_and_again_when_it_has_changed(counted: Path) -> None:
    assert not is_executed(f"{counted}:Own")
    first = make_pair(f"{counted}:Own", SPEC)
    assert isinstance(make_pair(f"{counted}:Other", SPEC), type(first))
    load_data(f"{counted}:raw")
    assert counted.with_name("count").read_text() == "x"
    assert is_executed(f"{counted}:Own")
    assert [is_named("a.py:x", name) for name in ("./a.py:Y", "b.py:x", None)] == [True, False, False]
    counted.write_text(counted.read_text().replace("scale: float = 1.0", "scale: float = 2.0"))
    assert make_pair(f"{counted}:Own", SPEC).scale == 2.0
    assert counted.with_name("count").read_text() == "xx"
    assert make_pair("own_pair", SPEC).scale == 2.0  # what it registers again takes the place of what it did before


def test_what_a_file_registers_is_known_by_its_name(counted: Path) -> None:
    module_of(counted)
    assert type(make_pair("own_pair", SPEC)).__name__ == "Own"
    assert type(make_objective("own_objective")).__name__ == "Mine"
    assert len(load_data("own_data", num=30).train[0]) == 24
    assert MODELS["own_pair"].cls is vars(sys.modules["counted"])["Own"]


def test_a_file_imports_its_siblings_and_they_import_it(tmp_path: Path) -> None:
    (tmp_path / "sibling.py").write_text("WIDTH = 5\n\ndef owner():\n    import main_file\n    return main_file\n")
    (tmp_path / "main_file.py").write_text("import sibling\n\ndef data():\n    import later\n    return later.DATA\n")
    (tmp_path / "later.py").write_text("import torch\nimport sibling\nDATA = torch.zeros(20, sibling.WIDTH)\n")
    assert load_data(f"{tmp_path}/main_file.py:data").spec.num_features == 5
    assert sys.modules["sibling"].owner() is module_of(tmp_path / "main_file.py")


def test_a_module_that_python_has_imported_is_not_executed_again(
    counted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(counted.parent)
    import counted as imported  # type: ignore[import-not-found]

    assert type(make_pair(f"{counted}:Own", SPEC)) is imported.Own
    assert counted.with_name("count").read_text() == "x"


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    for folder, width in (("a", 2), ("b", 3)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.py").write_text(f"import torch\ndef data():\n    return torch.zeros(20, {width})\n")
    widths = [load_data(f"{tmp_path}/{folder}/same.py:data").spec.num_features for folder in ("a", "b", "a")]
    assert widths == [2, 3, 2]


def test_a_function_gives_what_dataset_from_takes_and_has_its_options(counted: Path) -> None:
    data = load_data(f"{counted}:raw", num=30)
    assert (data.spec.name, len(data.test[0]), len(data.valid[0])) == ("raw", 2, 3)
    assert data.config == {"name": f"{counted}:raw", "options": {"num": 30}}
    with pytest.raises(UsageError, match="has no option 'nmu': did you mean 'num'"):
        load_data(f"{counted}:raw", nmu=30)


def test_an_objective_of_a_file_is_made_again_of_its_config(counted: Path) -> None:
    objective = make_objective(f"{counted}:Mine", num_particles=3)
    config = objective_config(make_objective(f"{counted}:Mine", num_particles=3))
    assert make_objective(config["name"], **config["options"]) == objective


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        ("x = 1\n", "x", r"my\.py:x must be a class, got 1"),
        ("class A:\n    pass\n", "B", r"my\.py has no class 'B': .*Known names: A\."),
        ("\n\n1 / 0\n", "A", r"my\.py:3 cannot be imported \(ZeroDivisionError: division by zero\)"),
        ("def f(:\n", "A", r"my\.py cannot be imported \(SyntaxError: "),
        ("import sys\nsys.exit(3)\n", "A", r"my\.py:2 cannot be imported \(SystemExit: 3\)"),
        ("import no_such_module\n", "A", r"my\.py:1 cannot be imported \(ModuleNotFoundError: "),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_its_line(tmp_path: Path, text: str, name: str, sentence: str) -> None:
    (tmp_path / "my.py").write_text(text)
    with pytest.raises(UsageError, match=sentence):
        make_pair(f"{tmp_path}/my.py:{name}", SPEC)


def test_a_file_that_raises_leaves_no_module(tmp_path: Path) -> None:
    (tmp_path / "breaks.py").write_text("1 / 0\n")
    with pytest.raises(UsageError, match="cannot be imported"):
        module_of(tmp_path / "breaks.py")
    assert "breaks" not in sys.modules
    (tmp_path / "breaks.py").write_text("x = 1\n")
    assert module_of(tmp_path / "breaks.py").x == 1


def test_its_parameters_are_trained(counted: Path) -> None:
    pair = make_pair(f"{counted}:Own", SPEC, scale=0.5)
    assert [name for name, _ in pair.named_parameters()] == ["loc"]
    assert torch.equal(pair.loc, torch.zeros(3))
