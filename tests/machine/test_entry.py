"""What users call may be called from threads, and in any of torch's modes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

import ppgen
from ppgen.errors import UsageError
from ppgen.inference import ELBO

BRIEF: dict[str, Any] = {"steps": 10, "eager": True, "batch_size": 20}


def pair_and_data() -> tuple[ppgen.Pair, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(60, 6, generator=generator).round()
    torch.manual_seed(0)
    return ppgen.make_pair("vae", ppgen.DataSpec("bits", 6, "binary"), latent_dim=2, hidden=[4]), x


def trained(pair: ppgen.Pair, x: torch.Tensor) -> float:
    return float(ppgen.fit(pair, x, ELBO(), **BRIEF).metrics[-1]["bound"])


def test_threads_that_train_wait_for_each_other() -> None:
    made = [pair_and_data() for _ in range(3)]
    alone = trained(*pair_and_data())
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda one: trained(*one), made)) == [alone] * 3


def test_threads_that_evaluate_get_the_numbers_of_one() -> None:
    pair, x = pair_and_data()
    run = ppgen.fit(pair, x, ELBO(), **BRIEF)
    alone = run.evaluate(particles=20).log_likelihood
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: run.evaluate(particles=20).log_likelihood, range(4)))
    assert found == [alone] * 4


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_training_has_gradients_whatever_mode_it_is_called_in(mode: Any) -> None:
    alone = trained(*pair_and_data())
    pair, x = pair_and_data()
    with mode():
        assert trained(pair, x.clone()) == alone


def test_parameters_made_in_inference_mode_are_refused() -> None:
    with torch.inference_mode():
        pair, x = pair_and_data()
    with pytest.raises(UsageError, match=r"parameters were made under torch\.inference_mode"):
        trained(pair, x)


@pytest.mark.parametrize("seed", [-1, 2**70, 1.5, True, "one"])
def test_a_seed_is_a_whole_number_that_generators_take(seed: Any) -> None:
    pair, x = pair_and_data()
    with pytest.raises(UsageError, match="seed must be a whole number of at least 0, got "):
        ppgen.diagnose(pair, x, seed=seed)
