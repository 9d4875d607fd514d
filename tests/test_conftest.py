"""The fixtures every test relies on do what they promise."""

from collections.abc import Callable

import pyro
import pytest
import torch

from tests.conftest import SEED, unchanged_settings


@pytest.mark.parametrize(
    ("leak", "setting"),
    [
        (lambda: torch.set_default_dtype(torch.float64), "default_dtype"),
        (lambda: torch.set_default_device("meta"), "default_device"),
        (lambda: torch.set_num_threads(torch.get_num_threads() + 1), "num_threads"),
        (lambda: torch.set_grad_enabled(False), "grad_enabled"),
        (lambda: torch.use_deterministic_algorithms(True), "deterministic"),
        (lambda: torch.autograd.set_detect_anomaly(True), "anomaly"),
        (lambda: pyro.enable_validation(False), "validate_infer"),
        (lambda: pyro.settings.set(module_local_params=True), "module_local_params"),
    ],
)
def test_guard_fails_a_test_that_leaves_a_setting_changed(leak: Callable[[], object], setting: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=setting), unchanged_settings():
        leak()
    with unchanged_settings():
        assert torch.tensor(1.0).dtype == torch.float32
    assert torch.is_grad_enabled()


def test_every_test_starts_from_the_same_seed() -> None:
    drawn = torch.rand(3)
    pyro.set_rng_seed(SEED)
    torch.testing.assert_close(drawn, torch.rand(3), rtol=0, atol=0)


@pytest.mark.parametrize("turn", [1, 2])
def test_the_parameter_store_starts_empty(turn: int) -> None:
    assert len(pyro.get_param_store()) == 0, f"turn {turn} found parameters of an earlier test"
    pyro.param("left_behind", torch.zeros(1))
