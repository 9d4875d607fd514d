"""Fixtures of the tests of diagnoses."""

import pytest

import ppgen
from ppgen.inference import ELBO
from ppgen.models import VAE


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ppgen.Run:
    """A small VAE, trained a little, in a folder."""
    data = ppgen.load_data("digits")
    out = tmp_path_factory.mktemp("runs") / "vae"
    return ppgen.fit(VAE(data.spec, 3, hidden=(8,)), data, ELBO(), steps=20, eager=True, out=out)
