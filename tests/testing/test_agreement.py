"""Two results agree to the rounding of the coarsest floating type that took part, and no further."""

from __future__ import annotations

import pytest
import torch

from ppgen.testing.agreement import apart, close, coarsest, disagreement, or_zeros

ONE = torch.ones(3, dtype=torch.float64)
NETWORK = torch.zeros(2, dtype=torch.float32)


def test_a_float64_number_that_a_float32_network_had_a_part_in_is_a_float32_number() -> None:
    """4.5e-8 nats, less than one rounding of float32, and 2e8 of float64."""
    assert not close(ONE + 4.5e-8, ONE).any()
    assert close(ONE + 4.5e-8, ONE, given=[NETWORK]).all()
    assert not close(ONE + 1e-3, ONE, given=[NETWORK]).any()


def test_results_are_as_far_apart_as_their_farthest_numbers() -> None:
    assert apart(torch.tensor([1.0, 5.0]), torch.tensor([1.0, 8.0])) == 3


def test_a_gradient_that_autograd_did_not_find_is_zero_and_another_is_itself() -> None:
    assert torch.equal(or_zeros(None, ONE), torch.zeros_like(ONE))
    assert or_zeros(NETWORK, NETWORK + 1) is NETWORK


def test_either_result_may_be_the_coarser() -> None:
    for found, expected in ((ONE.float(), ONE + 1e-6), (ONE + 1e-6, ONE.float())):
        assert close(found, expected).all()


def test_what_is_no_floating_tensor_has_no_part_in_rounding() -> None:
    assert coarsest([torch.arange(3), None, 0.5, "y", torch.ones(1, dtype=torch.bool)]) == 0
    assert coarsest([ONE, None, NETWORK, torch.arange(3)]) == torch.finfo(torch.float32).eps
    assert close(torch.arange(3), torch.arange(3)).all()
    assert not close(torch.arange(3), torch.arange(3) + 1).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_still_tells_a_tenth(dtype: torch.dtype) -> None:
    """A thousand of its roundings are as large as the number."""
    number = torch.full((2,), 5.0, dtype=dtype)
    assert close(number * (1 + torch.finfo(dtype).eps), number).all()
    assert not close(number * 1.1, number).any()


def test_gradients_of_half_precision_agree_to_its_roundings_and_others_to_a_thousandth() -> None:
    for dtype, off, name in (
        (torch.float32, 2e-3, "slope"),
        (torch.bfloat16, 2e-3, None),
        (torch.bfloat16, 0.2, "slope"),
    ):
        expected = {"value": torch.ones((), dtype=dtype), "slope": torch.ones(2, dtype=dtype)}
        assert disagreement({**expected, "slope": expected["slope"].float() + off}, expected) == name
