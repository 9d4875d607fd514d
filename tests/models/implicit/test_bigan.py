"""The BiGAN pair: its encoder, its reconstructions, with labels, and where they are shown."""

from pathlib import Path

import pytest
import torch

import ppgen
from ppgen.data import Dataset, DataSpec
from ppgen.draws.samples import reconstructions
from ppgen.errors import UsageError
from ppgen.inference import ALI, NonSaturating
from ppgen.models import BiGAN
from ppgen.pairs.sampling import unconditioned
from ppgen.pairs.traces import sites_of
from ppgen.report.samples import reconstructed_data
from ppgen.testing import check_pair

PLANE = DataSpec("plane", 2, "real", num_classes=3)
X, Y = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 2, 1, 0])


def test_a_draw_is_the_generator_at_latents_and_label() -> None:
    pair = BiGAN(PLANE, 3, hidden=(4,), labels=True)
    sites = unconditioned(pair.model, (X, Y))
    beside = torch.cat([sites["z"]["value"], torch.eye(3)[Y]], -1)
    assert torch.equal(sites["x"]["value"], pair.generator(beside))


@pytest.mark.parametrize("posterior", ["normal", "point"])
def test_the_guide_draws_about_the_code(posterior: str) -> None:
    pair = BiGAN(PLANE, 3, hidden=(4,), posterior=posterior)  # type: ignore[arg-type]  # one of its names
    site = sites_of(pair.guide, X)["z"]
    torch.testing.assert_close(site["fn"].mean, pair.encode(X))
    assert torch.equal(site["value"], pair.encode(X)) is (posterior == "point")


def test_the_label_moves_the_code_of_a_pair_with_labels() -> None:
    pair = BiGAN(PLANE, 3, hidden=(4,), labels=True)
    assert pair.label_effect is not None
    before = pair.encode(X, Y)
    with torch.no_grad():
        pair.label_effect[1] += 1
    moved = (pair.encode(X, Y) - before).abs().sum(-1) > 0.5
    assert torch.equal(moved, Y == 1)


def test_a_datum_is_made_again_at_its_own_label_or_at_another() -> None:
    pair = BiGAN(PLANE, 3, hidden=(4,), labels=True)
    code, other = pair.encode(X, Y), (Y + 1) % 3
    assert torch.equal(pair.reconstruct(X, Y), pair.decode(code, Y))
    assert torch.equal(pair.reconstruct(X, Y, other), pair.decode(code, other))
    assert torch.equal(reconstructions(pair, (X, Y)).mean, pair.reconstruct(X, Y).detach())


@pytest.mark.usefixtures("graphs_as_they_are")
@pytest.mark.parametrize("labels", [False, True])
def test_points_and_labels_keep_the_rules(labels: bool) -> None:
    pair = BiGAN(PLANE, 3, hidden=(4,), posterior="point", labels=labels)
    assert check_pair(pair, (X, Y) if labels else (X,)).ok


def test_reconstructions_are_measured_and_shown(tmp_path: Path) -> None:
    spec = DataSpec("plane", 2, "real", num_classes=3, num_data=6)
    data = Dataset(spec, (X, Y), (X, Y), (X, Y))
    pair = ppgen.make_pair("bigan", spec, latent_dim=2, hidden=(4,), labels=True)
    options = {"steps": 2, "batch_size": 6, "eager": True, "out": tmp_path}
    run = ppgen.fit(pair, data, ALI(game=NonSaturating(hidden=(4,))), **options)  # type: ignore[arg-type]
    found = {one.name: one.value for one in run.evaluate(num_samples=4).measures}
    with torch.no_grad():
        pair.eval()
        error = (X - pair.reconstruct(X, Y)).square().sum(-1).mean()
    assert found["squared_error"] == pytest.approx(float(error), rel=1e-5)
    section = reconstructed_data(run)
    assert section is not None
    assert "G(z) at the mean z of the guide" in section.figures[0].caption


def test_labels_are_asked_for_in_a_sentence() -> None:
    with pytest.raises(UsageError, match=r"BiGAN with labels needs the number of classes, but .* labels=True"):
        BiGAN(DataSpec("plane", 2, "real"), 3, labels=True)
    pair = BiGAN(PLANE, 3, hidden=(4,), labels=True)
    with pytest.raises(UsageError, match=r"takes batches \(x, y\) with labels y of shape \(B,\), .* got none"):
        pair.prepare(X)
    with pytest.raises(UsageError, match="takes labels 0 to 2, got 3 in row 1"):
        pair.prepare(X, torch.tensor([0, 3, 1, 1, 1, 1]))
