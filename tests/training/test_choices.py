"""Which library, and how many threads, is chosen by measuring: once on a machine, and for a run for good."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ppgen.machine.products import Product, has_onednn
from ppgen.machine.timing import Timing
from ppgen.training import choices as module
from ppgen.training.choices import Choices, machine

PRODUCT = Product(100, 784, 200, "n", "t", bias=True)
OTHER = PRODUCT._replace(rows=50)
CASES = [(Timing(100.0, 80.0), True), (Timing(100.0, 95.0), False), (Timing(80.0, 100.0), False)]


class Clock:
    """Stands in for the timing of products: gives each the same times, and counts."""

    def __init__(self, times: Timing) -> None:
        self.times, self.asked = times, 0

    def __call__(self, product: Product) -> Timing:
        self.asked += 1
        return self.times


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, which no process has read yet."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    module._known.cache_clear()
    yield tmp_path
    module._known.cache_clear()


def clocked(monkeypatch: pytest.MonkeyPatch, mkl: float = 100.0, onednn: float = 50.0) -> Clock:
    clock = Clock(Timing(mkl, onednn))
    monkeypatch.setattr(module, "timed", clock)
    return clock


def forgotten() -> Choices:
    """Those of a new process."""
    module._known.cache_clear()
    return Choices()


@pytest.mark.parametrize(("times", "chosen"), CASES)
def test_onednn_is_chosen_where_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, times: Timing, chosen: bool
) -> None:
    clocked(monkeypatch, *times)
    assert Choices().products([PRODUCT]) == ({PRODUCT} if chosen else set())


def test_a_product_is_measured_once_on_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = clocked(monkeypatch)
    for choices in (Choices(), Choices(), forgotten()):
        assert choices.products([PRODUCT, PRODUCT]) == {PRODUCT}
    assert clock.asked == 1
    assert forgotten().products([PRODUCT, OTHER]) == {PRODUCT, OTHER}
    assert clock.asked == 2


def test_a_run_keeps_its_choice_where_the_file_is_lost(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    clocked(monkeypatch)
    first = Choices()
    first.products([PRODUCT])
    for file in folder.iterdir():
        file.unlink()
    clock = clocked(monkeypatch, onednn=200.0)
    module._known.cache_clear()
    assert Choices(first.taken).products([PRODUCT]) == {PRODUCT}
    assert clock.asked == 0


def test_a_run_measures_the_largest_products_first_and_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Product] = []

    def slow(product: Product) -> Timing:
        measured.append(product)
        choices._left = 0.0
        return Timing(100.0, 50.0)

    monkeypatch.setattr(module, "timed", slow)
    choices = Choices()
    assert choices.products([OTHER, PRODUCT]) == {PRODUCT}
    assert measured == [PRODUCT]
    assert choices.taken == {str(PRODUCT): True, str(OTHER): False}
    assert forgotten().products([OTHER, PRODUCT]) == {PRODUCT}  # another run of the same seed has the same bits
    assert measured == [PRODUCT]


@pytest.mark.parametrize("damage", ["cut", "no JSON", "foreign", "negative", "later", "a folder"])
def test_a_file_that_is_none_of_ours_is_made_again(monkeypatch: pytest.MonkeyPatch, folder: Path, damage: str) -> None:
    clock = clocked(monkeypatch)
    Choices().products([PRODUCT])
    (file,) = folder.glob("ppgen-choices-*.json")
    whole = file.read_text()
    other = {
        "foreign": whole.replace(json.dumps(machine()["processor"]), '"another"'),
        "negative": whole.replace("100.0", "-100.0"),
        "later": whole.replace('"format": 1', '"format": 99'),
    }
    file.unlink()
    if damage == "a folder":
        file.mkdir()
    else:
        file.write_text({"cut": whole[:40], "no JSON": "\0", **other}[damage])
        assert file.read_text() != whole
    assert forgotten().products([PRODUCT]) == {PRODUCT}
    assert clock.asked == 2
    assert file.is_dir() or json.loads(file.read_text()) == json.loads(whole)


def test_where_nothing_can_be_written_a_process_knows_what_it_measured(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    clock = clocked(monkeypatch)
    monkeypatch.setattr(module, "_file", lambda: folder / "missing" / "file.json")
    assert Choices().products([PRODUCT]) == Choices().products([PRODUCT]) == {PRODUCT}
    assert clock.asked == 1


def test_what_another_process_has_measured_meanwhile_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    clocked(monkeypatch)
    Choices().products([OTHER])  # this process has read the file
    here = dict(module._known(module._file()))
    forgotten().products([PRODUCT])  # another one writes
    module._known(module._file()).clear()
    module._known(module._file()).update(here)
    clocked(monkeypatch, onednn=200.0)
    assert Choices().products([PRODUCT]) == {PRODUCT}


def test_what_a_processor_is_taken_for_is_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    file = module._file()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert module._file() != file
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    assert module._file() == file


@pytest.mark.thorough
def test_what_torch_takes_the_processor_for_is_another_machine() -> None:
    code = "from ppgen.training.choices import machine; print(machine()['capability'])"
    env = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert said.strip() == "DEFAULT"


@pytest.mark.parametrize(("times", "chosen"), CASES)
def test_one_thread_takes_a_step_where_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, times: Timing, chosen: bool
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(module, "timed_threads", lambda call: times)
    choices = Choices()
    assert choices.takes_one_thread("step a", lambda: None) is chosen
    assert choices.taken == {"step a": chosen}
    monkeypatch.setattr(module, "timed_threads", lambda call: None)
    assert forgotten().takes_one_thread("step a", lambda: None) is chosen  # another process knows
    assert not forgotten().takes_one_thread("step b", lambda: None)  # too long to be timed


def test_with_one_thread_there_is_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    choices = Choices()
    assert not choices.takes_one_thread("step a", lambda: None)
    assert choices.taken == {}


@pytest.mark.skipif(not has_onednn(), reason="this torch has no oneDNN")
def test_measuring_ends_in_time() -> None:
    choices = Choices()
    choices.products([PRODUCT, OTHER])
    assert 0 < module.BUDGET - choices._left < 2 * module.BUDGET + 1.0  # a busy machine takes longer
