"""What Inductor made of a step is used again."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from ppgen.machine.timing import Timing
from ppgen.training import choices as module
from ppgen.training.choices import Choices
from ppgen.training.steps import StepFunction, compiled


def step_with(constant: Tensor) -> StepFunction:
    """One that reads a tensor which is no argument."""

    def step(owned: Any, others: Any, state: Any, values: Any, batch: Any) -> Any:
        gradient = (owned["w"] * constant).sin() + batch[0].sum(0)
        return [gradient], {"loss": gradient.sum()}, {}, {}

    return step


def arguments() -> tuple[Any, ...]:
    return {"w": torch.linspace(0, 1, 7)}, {}, {}, {}, (torch.ones(3, 7),)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    counters["inductor"].clear()


def test_an_equal_step_is_taken_from_the_cache_with_constants_of_its_own() -> None:
    for number, constant in enumerate((torch.linspace(-1, 1, 7), torch.linspace(2, 3, 7))):
        result = compiled(step_with(constant), *arguments())(*arguments())
        torch.testing.assert_close(result[0], step_with(constant)(*arguments())[0])
        assert counters["inductor"]["fxgraph_cache_hit"] == number


def test_a_step_is_taken_by_one_thread_where_that_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "timed_threads", lambda call: Timing(2.0, 1.0))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        choices = Choices()
        result = compiled(step_with(torch.ones(7)), *arguments(), choices=choices)(*arguments())
        assert list(choices.taken.values()) == [True]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(result[0], step_with(torch.ones(7))(*arguments())[0])


@pytest.mark.thorough
def test_the_first_compiled_step_takes_warnings_for_errors() -> None:
    """In a process of its own, where what torch's compiler imports has not been imported yet."""
    code = """if True:
        import warnings, torch, ppgen
        warnings.simplefilter("error")
        pair = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real"))
        ppgen.fit(pair, torch.randn(20, 3), "elbo", steps=2, progress=False)
        print("compiled")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "compiled\n"
