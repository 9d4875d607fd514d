"""What Inductor made of a step is used again."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

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
