"""What the run is, and under which versions it was made."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppgen.runs.run import Run
from ppgen.pages.elements import Section, name_of, texts

__all__ = ["configuration", "versions"]


def configuration(run: Run) -> Section:
    """All that rebuilds the run."""
    config = run.config
    size = sum(parameter.numel() for parameter in run.pair.parameters())
    groups = {
        "model": {"name": name_of(config["model"]), **config["model"]["options"], "parameters": f"{size:,}"},
        "data": {"name": config["data"].get("name", run.data.spec.name), **config["data"].get("options", {})},
        "objective": {"name": name_of(config["objective"]), **config["objective"]["options"]},
        "training": config["training"],
    }
    return Section(
        "Configuration", facts={title: texts(group) for title, group in groups.items()}, group="Record", wide=True
    )


def versions(run: Run) -> Section:
    """What it ran on."""
    facts = {**run.config["versions"], "device": run.config["device"], "data (SHA-256)": run.config["data"]["sha256"]}
    return Section("Versions", facts={"": texts(facts)}, group="Record", wide=True)
