"""What every test starts from and must leave behind: a seed, no stored parameters, unchanged settings."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch

from ppgen.cli import main
from ppgen.pairs.energy import EnergyPair
from tests.cli_cases import QUICK
from tests.rounding import RoundedOtherwise
from tests.traced import as_graphs

ROOT = Path(__file__).resolve().parents[1]
SEED = 20_160_101


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--rounding``: matrix products are rounded otherwise, as on another processor."""
    parser.addoption("--rounding", action="store_true", help="run under tests.rounding.RoundedOtherwise")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test with its fixtures, under another rounding where that was asked for."""
    with RoundedOtherwise() if item.config.getoption("rounding") else nullcontext():
        return (yield)


def pytest_configure() -> None:
    """Let ``PPGEN_DATA`` name the data folder beside the repository where it exists and nobody named one.

    No test reaches a hub of models on the network, where somebody may be logged in.
    Where there is no accelerator, a seed is given to the CPU alone: for one that may come, ``torch.manual_seed`` writes
    down the whole stack of the test, three times, in 5 ms.
    """
    if not torch.accelerator.is_available():
        torch.manual_seed = torch.default_generator.manual_seed
    os.environ["HF_HUB_OFFLINE"] = "1"
    beside = ROOT.parent / "shared" / "data"
    if beside.is_dir():
        os.environ.setdefault("PPGEN_DATA", str(beside))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is thorough is slow; tests marked ``gpu`` are skipped where there is no CUDA device."""
    for item in items:
        if item.get_closest_marker("thorough"):
            item.add_marker(pytest.mark.slow)
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def global_settings() -> dict[str, Any]:
    """The settings of torch and Pyro that one test could change for all others."""
    return {
        "torch.get_default_dtype()": torch.get_default_dtype(),
        "torch.get_default_device()": torch.get_default_device(),
        "torch.get_num_threads()": torch.get_num_threads(),
        "torch.is_grad_enabled()": torch.is_grad_enabled(),
        "torch.are_deterministic_algorithms_enabled()": torch.are_deterministic_algorithms_enabled(),
        "torch.is_anomaly_enabled()": torch.is_anomaly_enabled(),
        **{f"pyro.settings {name}": value for name, value in pyro.settings.get().items()},
    }


def restore(settings: dict[str, Any]) -> None:
    """Put back what :func:`global_settings` returned."""
    torch.set_default_dtype(settings["torch.get_default_dtype()"])
    if settings["torch.get_default_device()"] != torch.get_default_device():
        torch.set_default_device(None)
    torch.set_num_threads(settings["torch.get_num_threads()"])
    torch.set_grad_enabled(settings["torch.is_grad_enabled()"])
    torch.use_deterministic_algorithms(settings["torch.are_deterministic_algorithms_enabled()"])
    torch.autograd.set_detect_anomaly(settings["torch.is_anomaly_enabled()"])
    pyro.settings.set(
        **{
            name.removeprefix("pyro.settings "): value
            for name, value in settings.items()
            if name.startswith("pyro.settings ")
        }
    )


@contextmanager
def unchanged_settings() -> Iterator[None]:
    """Within it, whatever changes a global setting and leaves it changed fails the test; it is put back."""
    before = global_settings()
    yield
    after = global_settings()
    restore(before)
    changed = [f"{name}: {before[name]} -> {after[name]}" for name in before if before[name] != after[name]]
    if changed:
        pytest.fail("the test left global settings changed: " + "; ".join(changed), pytrace=False)


@pytest.fixture(autouse=True)
def clean_slate() -> Iterator[None]:
    """Seed, clear the parameter store, switch validation on, and guard the global settings."""
    pyro.clear_param_store()
    pyro.set_rng_seed(SEED)
    with pyro.validation_enabled(True), unchanged_settings():
        yield
    pyro.clear_param_store()


ON_GPU = torch.cuda.is_available()


@pytest.fixture(autouse=ON_GPU)
def on_the_cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that is not marked ``gpu`` sees no GPU, and neither does a process that it starts."""
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data files; skips where there is none."""
    folder = os.environ.get("PPGEN_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs a folder of data files: set PPGEN_DATA")
    return Path(folder)


@pytest.fixture(scope="session")
def require_data(data_dir: Path) -> Callable[[str], Path]:
    """A function from a file's name to its path; it skips, naming the file, where the file is missing."""

    def path_of(name: str) -> Path:
        path = data_dir / name
        if not path.is_file():
            pytest.skip(f"needs {name} in {data_dir}")
        return path

    return path_of


IMPORTS = """
import json, sys
import ppgen
import ppgen.data
import ppgen.report.page
import ppgen.pages.pictures
first = [*sys.modules]
import torch
from ppgen.pages.charts import Curve, plot_curves
ppgen.pages.pictures.png(ppgen.pages.pictures.grid(torch.ones(1, 4), (2, 2), 1))
plot_curves([Curve("", [1], [1])], x_label="", y_label="").svg("one point")
print(json.dumps([first, [*sys.modules]]))
"""


@pytest.fixture(scope="session")
def imported() -> tuple[set[str], set[str]]:
    """What is imported with ppgen and the report's page; and what is when a picture and a chart were drawn."""
    command = [sys.executable, "-W", "error::UserWarning", "-c", IMPORTS]
    first, drawn = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return set(first), set(drawn)


@pytest.fixture
def graphs_as_they_are() -> Iterator[None]:
    """Steps are traced and not given to Inductor, which takes seconds a step and changes roundings only."""
    with as_graphs():
        yield


@pytest.fixture
def few_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains that data are drawn by end after 20 sweeps."""
    monkeypatch.setattr(EnergyPair.chain_states, "__defaults__", (None, (20,), ()))
    monkeypatch.setattr("ppgen.chains.log_z._LOOKS", range(11, 21))
    monkeypatch.setattr("ppgen.report.energy._AFTER", (0, 1, 10, 20))


@pytest.fixture
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test stands in its own ``tmp_path``."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps, to be copied."""
    folder = tmp_path_factory.mktemp("finished") / "r"
    assert main([*QUICK, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def judged(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was evaluated and diagnosed."""
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("judged") / "r"))
    assert main(["evaluate", str(folder), "--particles", "2", "--num-data", "3"]) == 0
    assert main(["diagnose", str(folder), "--num-data", "3", "--particles", "30", "--ask", "importance"]) == 0
    return folder


@pytest.fixture
def a_run(finished: Path, tmp_path: Path) -> Path:
    """A copy of that run as ``r`` in ``tmp_path``."""
    return Path(shutil.copytree(finished, tmp_path / "r"))
