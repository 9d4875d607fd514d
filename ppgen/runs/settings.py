"""What is told of a training, by a command line, a file, or one over the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ppgen.arguments import check_fields
from ppgen.errors import UsageError, shown
from ppgen.runs.job import Job
from ppgen.training.options import over
from ppgen.user_code import file_and_name

__all__ = ["Settings"]

_PARTS = {"model": "MODEL", "data": "--data NAME", "objective": "--objective NAME"}
"""What has a name and options, and how a command line names it."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """As much of a :class:`ppgen.runs.job.Job` as was told.

    Args:
        model, data, objective: their names; None: nobody said; "": something that has no name.
        model_options, data_options, objective_options: of each.
        training: options of :class:`ppgen.training.options.TrainingOptions`.
        sha256: of the data, where they are to be the very same.

    >>> line, file = Settings(data="mnist", training={"lr": 0.1}), Settings(model="vae", data="digits")
    >>> line.over(file).job().data
    'mnist'
    """

    model: str | None = None
    data: str | None = None
    objective: str | None = None
    model_options: Mapping[str, Any] = field(default_factory=dict)
    data_options: Mapping[str, Any] = field(default_factory=dict)
    objective_options: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    sha256: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    def over(self, base: Settings) -> Settings:
        """These, and where they say nothing those of ``base``; options of ``base`` hold for the name they stand with.

        Raises:
            UsageError: ``base`` names a Python file, which is run only if these name it too.
        """
        found: dict[str, Any] = {}
        for part, flag in _PARTS.items():
            own, other = getattr(self, part), getattr(base, part)
            if own is None and file_and_name(other or "") is not None:
                raise UsageError(
                    f"the file names the {part} {shown(other)}, and a Python file is run only if you name it yourself: "
                    f"give it on the line too ({flag})."
                )
            options = f"{part}_options"
            kept = getattr(base, options) if own is None or _tail(own) == _tail(other) else {}
            found |= {part: other if own is None else own, options: {**kept, **getattr(self, options)}}
        same_data = self.data is None and not self.data_options
        return Settings(
            **found, training=over(base.training, self.training), sha256=base.sha256 if same_data else self.sha256
        )

    def job(self, device: str = "auto") -> Job:
        """The training.

        Raises:
            UsageError: the model or the data are not named; a name or an option is unknown, a value is refused.
        """
        for part, flag in _PARTS.items():
            name = getattr(self, part)
            if name == "":
                raise UsageError(
                    f"the file's {part} was made in Python of what no file can hold: name one on the line ({flag})."
                )
            if name is None and part != "objective":
                raise UsageError(
                    f"no {part} is named ({flag}): write for example ppgen train vae --data digits, or --config FILE "
                    "of a run or a recipe."
                )
        return Job(**vars(self), device=device)


def _tail(name: str | None) -> str:
    """A name; of a class in a file its own, wherever the file is."""
    return (name or "").rpartition(":")[2]
