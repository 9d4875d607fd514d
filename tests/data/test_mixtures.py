"""The mixtures of known modes: centres by hand, rows about them, options."""

import math
from typing import Any

import pytest
import torch

from ppgen.data import load_data
from ppgen.errors import UsageError


def test_the_ring_has_eight_modes_and_does_not_come_round_to_the_first_again() -> None:
    modes = load_data("ring", num_data=100).modes
    assert modes is not None
    expected = [(math.cos(k * math.pi / 4), math.sin(k * math.pi / 4)) for k in range(8)]
    torch.testing.assert_close(modes.centres, torch.tensor(expected))
    assert modes.scale == 0.01
    assert torch.pdist(modes.centres).min() > 0.7


def test_the_grid_has_twenty_five_modes() -> None:
    modes = load_data("grid", num_data=100).modes
    assert modes is not None
    assert {tuple(centre) for centre in modes.centres.tolist()} == {
        (x, y) for x in (-4.0, -2.0, 0.0, 2.0, 4.0) for y in (-4.0, -2.0, 0.0, 2.0, 4.0)
    }
    assert modes.scale == 0.05


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_rows_are_spread_about_their_modes_in_equal_shares(name: str) -> None:
    """Shares within five standard deviations (false alarms over 33 modes: 2 in 100,000); scales within 2 percent."""
    data = load_data(name)
    assert data.modes is not None
    (x,) = data.train
    assert (len(x), len(data.valid[0]), len(data.test[0])) == (100_000, 10_000, 10_000)
    distances, modes = torch.cdist(x, data.modes.centres).min(1)
    share = 1 / len(data.modes.centres)
    counts = torch.bincount(modes, minlength=len(data.modes.centres)) / len(x)
    assert (counts - share).abs().max() < 5 * math.sqrt(share * (1 - share) / len(x))
    assert distances.square().mean().sqrt().item() == pytest.approx(math.sqrt(2) * data.modes.scale, rel=0.02)


def test_a_seed_gives_the_same_rows_and_another_seed_others() -> None:
    first, same, other = (load_data("ring", num_data=50, seed=seed) for seed in (3, 3, 4))
    assert first.sha256 == same.sha256 != other.sha256


def test_options_move_the_modes() -> None:
    ring = load_data("ring", num_modes=3, radius=2.0, scale=0.1, num_data=20).modes
    grid = load_data("grid", side=2, spacing=1.0, num_data=20).modes
    assert ring is not None
    assert grid is not None
    assert ring.centres.norm(dim=1).tolist() == pytest.approx([2.0] * 3)
    assert (len(ring.centres), ring.scale) == (3, 0.1)
    assert grid.centres.abs().unique().tolist() == [0.5]


@pytest.mark.parametrize(
    ("name", "options"),
    [("ring", {"num_modes": 0}), ("ring", {"radius": 0}), ("grid", {"side": 1.5}), ("grid", {"scale": -1.0})],
)
def test_impossible_options_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(options))} must be"):
        load_data(name, **options)
