"""ICA: its density against the change of variables, and known sources that are separated."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import pytest
import torch

import ppgen
from ppgen import DataSpec
from ppgen.errors import UsageError
from ppgen.evaluation.amari import amari_index
from ppgen.inference import ELBO
from ppgen.models import ICA
from tests.marks import thorough


@pytest.mark.parametrize("kind", ["laplace", "logistic", "cosh"])
def test_the_density_is_that_of_the_change_of_variables(kind: Any) -> None:
    pair, x = ICA(DataSpec("numbers", 3, "real"), sources=kind).double(), torch.randn(6, 3).double()
    with torch.no_grad():
        pair.unmixing.copy_(torch.tensor([[1.0, 2.0, 0.0], [0.5, -1.0, 0.3], [0.0, 0.2, 3.0]]))
        pair.loc.copy_(torch.tensor([1.0, -2.0, 0.5]))
    s = torch.stack([pair.unmixing @ (one - pair.loc) for one in x])
    densities = {
        "laplace": -s.abs() - torch.tensor(2.0).log(),
        "logistic": (s.sigmoid() * (-s).sigmoid()).log(),
        "cosh": -(torch.pi * s.cosh()).log(),
    }
    torch.testing.assert_close(pair.log_evidence(x), densities[kind].sum(-1) + pair.unmixing.det().abs().log())
    torch.testing.assert_close(s @ pair.mixing.T + pair.loc, x)


@pytest.mark.parametrize("kind", ["laplace", *thorough(["logistic", "cosh"])])
def test_known_sources_are_separated(kind: Any) -> None:
    torch.manual_seed(0)
    sources = dist.Laplace(0.0, 1.0).sample((3_000, 3)).double()
    mixing = torch.tensor([[1.0, 0.5, -0.3], [0.4, 1.0, 0.6], [-0.4, 0.3, 1.0]]).double()
    x = sources @ mixing.T + 1.0
    pair = ICA(DataSpec("mixed", 3, "real", num_data=len(x)), sources=kind).double()
    assert amari_index(pair.unmixing, mixing) > 0.2
    ppgen.fit(pair, x, ELBO(), epochs=800, batch_size=len(x), lr=0.05, seed=0, progress=False, eager=True)
    assert amari_index(pair.unmixing, mixing) < 0.05


def test_the_amari_index_of_a_known_product() -> None:
    """Rows 1 + 1/2 and 1, less 1: a half; columns 1 and 1 + 1/4: a quarter; over 2 D (D - 1) = 4."""
    product = torch.tensor([[2.0, -1.0], [0.0, 4.0]])
    assert amari_index(product, torch.eye(2)) == pytest.approx((0.5 + 0.25) / 4)
    assert amari_index(torch.ones(3, 3), torch.eye(3)) == pytest.approx(1.0)
    with pytest.raises(UsageError, match=r"two square matrices .* got \(2, 3\) and \(2, 2\)"):
        amari_index(torch.ones(2, 3), torch.eye(2))
    with pytest.raises(UsageError, match="a row or column of zeros"):
        amari_index(torch.zeros(2, 2), torch.eye(2))


def test_what_is_not_real_is_refused() -> None:
    with pytest.raises(UsageError, match="ICA needs real data"):
        ICA(DataSpec("bits", 3, "binary"))


def test_data_without_a_maximum_are_refused() -> None:
    x = torch.randn(50, 3)
    for wrong in (
        x[:, [0, 1, 0]],
        torch.cat([x[:, :2], torch.ones(50, 1)], 1),
        torch.cat([x[:, :2], x[:, :1] + x[:, 1:2]], 1),
    ):
        with pytest.raises(UsageError, match="ICA has no maximum of likelihood on these data"):
            ppgen.fit(ICA(DataSpec("numbers", 3, "real")), wrong, ELBO(), steps=1, progress=False)
