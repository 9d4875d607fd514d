"""Recipes by name, and files that say how to train: recipes, and the ``config.json`` of runs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import Field

from ppgen.arguments import one_of
from ppgen.errors import UsageError, is_file, shown
from ppgen.files.documents import Document, read_document
from ppgen.recipes.recipe import Recipe
from ppgen.runs.settings import Settings

__all__ = ["read_recipe", "read_settings", "recipe", "recipes"]

HOME = Path(__file__).parent
"""Where the recipes of this package are."""

_MEND = "correct it"


@cache
def recipes() -> Mapping[str, Recipe]:
    """All recipes of the package, by name."""
    files = sorted(HOME.glob("*.toml"))
    return MappingProxyType({file.stem: read_recipe(file) for file in files})


def recipe(name: str) -> Recipe:
    """A recipe by its name, or by the path of its file.

    Raises:
        UsageError: there is none of that name, or the file is no recipe.

    >>> recipe("vae-digits-iwelbo").model.name
    'vae'
    """
    if name.endswith(".toml"):
        return read_recipe(Path(name))
    one_of("expected a recipe, got", name, recipes())
    return recipes()[name]


def read_recipe(file: Path) -> Recipe:
    """The recipe that a file holds.

    Raises:
        UsageError: it cannot be read, has a key that recipes do not have, or a value of another kind; the key is named.
    """
    return read_document(_existing(file), Recipe, _MEND)


class _Part(Document):
    name: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class _Data(_Part):
    sha256: str | None = None


class _OfRun(Document):
    """What a run's ``config.json`` says of its training."""

    model: _Part
    data: _Data
    objective: _Part
    training: dict[str, Any]

    @property
    def settings(self) -> Settings:
        parts = {part: getattr(self, part) for part in ("model", "data", "objective")}
        names: dict[str, Any] = {part: one.name or "" for part, one in parts.items()}
        options = {f"{part}_options": one.options for part, one in parts.items()}
        return Settings(**names, **options, training=self.training, sha256=self.data.sha256)


def read_settings(file: Path) -> Settings:
    """The training that a file tells of: the ``config.json`` of a run, which says what wrote it, or a recipe.

    Raises:
        UsageError: as :func:`read_recipe`.
    """
    found = read_document(_existing(file), dict[str, Any], _MEND)
    kind: type[_OfRun] | type[Recipe] = _OfRun if "versions" in found else Recipe
    return read_document(file, kind, _MEND).settings


def _existing(file: Path) -> Path:
    if not is_file(file):
        raise UsageError(f"expected the file of a recipe or of a run's config, got {shown(str(file))}, which is none.")
    return file
