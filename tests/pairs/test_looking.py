"""Looking at a pair changes nothing of it, nor of what is around it."""

from __future__ import annotations

import pyro
import pytest
import torch

from ppgen.models import VAE
from ppgen.pairs.looking import looked_at, looking, seeded
from tests.doubles import Line
from tests.doubles import data as line_data
from tests.tiny import tiny_pair


@pytest.mark.parametrize("fails", [False, True])
def test_all_is_put_back_whether_or_not_it_fails(fails: bool) -> None:
    pair, data = tiny_pair("vae")
    assert isinstance(pair, VAE)
    pair.decoder.eval()
    before, modes = torch.get_rng_state(), [part.training for part in pair.modules()]
    try:
        with looking(pair, seed=1):
            assert not torch.is_grad_enabled()
            assert not any(part.training for part in pair.modules())
            pair.guide(*data.train)
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled()
    assert [part.training for part in pair.modules()] == modes
    assert not pyro.get_param_store().keys()


def test_without_a_seed_the_random_numbers_go_on() -> None:
    pair, _ = tiny_pair("vae")
    with looking(pair):
        first = torch.rand(3)
    with looking(pair):
        assert not torch.equal(torch.rand(3), first)


def test_a_seed_gives_the_same_numbers_again() -> None:
    found = []
    for _ in range(2):
        with seeded(7):
            found.append(torch.rand(3))
    assert torch.equal(*found)


def test_a_look_leaves_a_frozen_parameter_frozen() -> None:
    """Pyro's store, where a parameter is put that no handler answers for, would make it trainable."""
    pair = Line()
    pair.slope.requires_grad_(False)
    looked_at(pair, (line_data(4),))
    assert not pair.slope.requires_grad
    assert pair.shift.requires_grad
