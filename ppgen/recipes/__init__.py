"""Recipes: published numbers, how they are reached here, and what was reached.

A recipe is a file beside this one, ``vae-digits-elbo.toml``: a training with all of its options, an evaluation, a
diagnosis, what was published and what came of it here. ``ppgen recipes`` lists them, ``ppgen reproduce NAME`` does what
one says.

To add one: 1. write its file, as :class:`ppgen.recipes.recipe.Recipe` declares it; 2. ``ppgen reproduce NAME``, and
enter under ``reached`` what came; 3. ``python -m ppgen.tables``.
"""

from ppgen.recipes.reading import read_recipe, recipe, recipes
from ppgen.recipes.recipe import Recipe
from ppgen.recipes.reproduction import Reproduction, reproduce

__all__ = ["Recipe", "Reproduction", "read_recipe", "recipe", "recipes", "reproduce"]
