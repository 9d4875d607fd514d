"""The pair's device decides; a device that is no CPU is played by torch's own ``meta``."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import ppgen
from ppgen.errors import UsageError
from ppgen.models import VAE
from ppgen.pairs.places import brought_to, place_of, put_on

CPU, META = torch.device("cpu"), torch.device("meta")


def a_pair() -> ppgen.Pair:
    return VAE(ppgen.DataSpec("x", 6, "binary"), 2, hidden=(3,))


def test_the_place_is_that_of_parameters_or_buffers() -> None:
    assert place_of(a_pair()) == CPU
    assert place_of(a_pair().to(META)) == META
    layer = nn.BatchNorm1d(2, affine=False).to(META)
    assert place_of(ppgen.pair_from(layer.forward, layer.forward)) == META
    assert place_of(ppgen.pair_from(lambda x: None, lambda x: None)) is None


def test_tensors_are_brought_and_everything_else_is_as_it_was() -> None:
    pair = a_pair().to(META)
    given: Any = (torch.ones(2), [torch.ones(3), None], 7)
    x, rest, number = brought_to(pair, given)
    assert x.device == rest[0].device == META
    assert (rest[1], number) == (None, 7)
    assert brought_to(pair, torch.ones(2)).device == META
    assert brought_to(pair, None) is None
    batch = (torch.ones(2),)
    assert brought_to(ppgen.pair_from(lambda x: None, lambda x: None), batch) is batch


class Apart(ppgen.Pair):
    """Says what torch says of tensors on two devices."""

    def model(self, x: torch.Tensor) -> None:
        raise RuntimeError("Expected all tensors to be on the same device, but found at least two devices")

    def guide(self, x: torch.Tensor) -> None:
        pass


def batch() -> tuple[torch.Tensor]:
    return (torch.ones(2),)


def test_a_pair_that_cannot_go_there_is_refused_where_that_was_asked_for() -> None:
    with pytest.raises(UsageError, match=r"stay on the CPU \(test_places.py:\d+, .*\), and the data are on meta: make"):
        put_on(Apart(), batch, META, asked=True)


def test_and_stays_on_the_cpu_otherwise() -> None:
    pair = Apart().to(CPU)
    with pytest.warns(UserWarning, match="it is trained on the CPU"):
        assert put_on(pair, batch, META, asked=False) == CPU


def test_on_a_cpu_nothing_is_run() -> None:
    assert put_on(Apart(), batch, CPU, asked=True) == CPU
