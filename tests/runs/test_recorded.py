"""What config.json records of a run: every setting, defaults too; earlier records, which left some out, go on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

import ppgen
from ppgen.factory import pair_config
from ppgen.training.options import TrainingOptions

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
QUICK: dict[str, Any] = {"eager": True, "batch_size": 10}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ppgen.Run:
    monkeypatch.chdir(tmp_path)
    data = ppgen.dataset_from({"a": X[:, 0], "b": X[:, 1]}, standardise=True)
    pair = ppgen.make_pair("vae", data.spec, latent_dim=2)
    return ppgen.fit(pair, data, "elbo", steps=2, out="r", **QUICK)


def rewritten(change: dict[str, Any]) -> None:
    file = Path("r", "config.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))


def test_every_setting_is_recorded(run: ppgen.Run) -> None:
    written = json.loads(Path("r", "config.json").read_text())
    assert written["model"]["options"] == json.loads(json.dumps(pair_config(run.pair)["options"]))
    assert written["model"]["options"]["latent_dim"] == 2
    assert "hidden" in written["model"]["options"]
    assert set(written["training"]) == set(TrainingOptions.__dataclass_fields__)
    assert written["objective"]["options"] == {"num_particles": 1}
    assert written["data"]["kinds"] == {"a": "real", "b": "real"}
    assert written["data"]["standardised"] == json.loads(json.dumps(run.data.found["standardised"]))
    assert {"ppgen", "torch", "pyro", "python"} <= set(written["versions"])
    assert written["git"] is None


def test_a_record_of_an_earlier_version_goes_on(run: ppgen.Run) -> None:
    rewritten({"model": {"name": "vae", "options": {"latent_dim": 2}}, "data": {"sha256": run.data.sha256}})
    pair = ppgen.make_pair("vae", run.data.spec, latent_dim=2)
    more = ppgen.fit(pair, run.data, "elbo", steps=4, out="r", resume=True, **QUICK)
    assert more.metrics[-1]["step"] == 4
    other = ppgen.make_pair("vae", run.data.spec, latent_dim=2, hidden=[7])
    with pytest.raises(ppgen.UsageError, match="begun with model options"):
        ppgen.fit(other, run.data, "elbo", steps=6, out="r", resume=True, **QUICK)


def test_the_commit_of_the_working_folder_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in ("init -q", "-c user.name=a -c user.email=a@b commit -q --allow-empty -m one"):
        subprocess.run(["git", *line.split()], check=True)
    data = ppgen.dataset_from(X)
    pair = ppgen.models.LinearGaussian(data.spec)
    written = ppgen.fit(pair, data, "elbo", steps=1, out="r", **QUICK).config
    assert len(written["git"]["commit"]) == 40
    assert written["git"]["dirty"] is False
