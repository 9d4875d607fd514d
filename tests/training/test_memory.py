"""Whatever does not fit into memory is one sentence with its sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import ppgen
from ppgen.evaluation import evaluate
from ppgen.inference import ELBO
from ppgen.models import VAE

DATA = ppgen.dataset_from(torch.rand(30, 3).round())
ERROR = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
WORK: dict[str, Callable[[VAE], Any]] = {
    "an evaluation of 3 data with K = 1000 particles": lambda pair: evaluate(pair, DATA),
    "a comparison of 1 objectives on B = 24 data with K = 2 particles at most": lambda pair: ppgen.compare(
        pair, DATA.train, [ELBO(num_particles=2)]
    ),
}


@pytest.mark.parametrize("what", WORK, ids=["evaluate", "compare"])
def test_what_looks_at_a_pair_names_its_sizes(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def model(self: VAE, x: torch.Tensor) -> None:
        raise ERROR

    pair = VAE(DATA.spec, 2, hidden=(4,))
    monkeypatch.setattr(VAE, "model", model)
    said = rf"^{what} takes more memory than there is \(20.00 GiB were asked for\): lower .*num_\w+.*\.$"
    with pytest.raises(ppgen.UsageError, match=said):
        WORK[what](pair)


def test_a_question_that_is_short_of_memory_names_its_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    def model(self: VAE, x: torch.Tensor) -> None:
        raise ERROR

    pair = VAE(DATA.spec, 2, hidden=(4,))
    monkeypatch.setattr(VAE, "model", model)
    said = (
        "No answer: a diagnosis of 3 data with K = 1000 particles takes more memory than there is (20.00 GiB were "
        "asked for): lower num_particles or num_data, or ask fewer questions."
    )
    found = ppgen.diagnose(pair, DATA)
    assert len(found) > 5
    assert {(one.status, one.meaning) for one in found} == {("unknown", said)}


def test_training_names_its_sizes_where_no_step_is_short_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(self: torch.optim.Adam, closure: Any = None) -> None:
        raise ERROR

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    pair = VAE(DATA.spec, 2, hidden=(4,))
    said = r"^training on batches of B = 10 data with K = 3 particles each, of a pair with 63 parameters, takes more"
    with pytest.raises(ppgen.UsageError, match=said):
        ppgen.fit(pair, DATA, ELBO(num_particles=3), batch_size=10, steps=1, eager=True, device="cpu")
