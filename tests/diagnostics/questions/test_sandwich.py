"""The numbers of a sandwich, by hand."""

import torch

from ppgen.chains.evidence import Bounds
from ppgen.diagnostics.questions.sandwich import _details


def test_width_and_shortfall_are_means_over_data() -> None:
    upper = torch.tensor([-1.0, -2.0, -3.0, -6.0], dtype=torch.float64)
    lower = torch.tensor([-1.5, -2.5, -4.0, -8.0], dtype=torch.float64)
    found = _details(
        Bounds(upper, lower, upper, torch.ones(3), torch.zeros(4), torch.ones(4)), torch.tensor([0.25, 0.75, 0.0, 0.0])
    )
    assert (found.width, found.shortfall) == (1.0, 0.25)  # of widths 0.5, 0.5, 1, 2
    assert found.standard_error is not None
    assert abs(found.standard_error - (1.5 / 3) ** 0.5 / 2) < 1e-12
