"""``ppgen list``: what is registered."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ppgen.arguments import one_of
from ppgen.cli.options import AsJson
from ppgen.cli.output import print_json, print_table
from ppgen.registry import DATA, MODELS, OBJECTIVES, Registry, Spec

__all__ = ["KINDS", "list_"]

KINDS: dict[str, Registry] = {"models": MODELS, "objectives": OBJECTIVES, "data": DATA}


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[models|objectives|data]",
            help="One kind only.",
            autocompletion=lambda: list(KINDS),
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the models, objectives and data sets, each with its options and their defaults."""
    if kind is not None:
        one_of("expected a kind of thing to list, got", kind, KINDS)
    chosen = {name: registry for name, registry in KINDS.items() if kind in (None, name)}
    if as_json:
        print_json({name: [_record(spec) for spec in registry.values()] for name, registry in chosen.items()})
        return
    for name, registry in chosen.items():
        rows = [(spec.name, spec.summary, _options_text(spec), _source(spec)) for spec in registry.values()]
        print(name)
        print_table(("name", "what it is", "options", "reference"), rows)


def _record(spec: Spec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "summary": spec.summary,
        "options": {name: repr(default) for name, default in spec.options.items()},
        "reference": spec.reference,
        "link": spec.link,
        "year": spec.year,
        "tags": spec.tags,
    }


def _options_text(spec: Spec) -> str:
    return "\n".join(f"{name}={default!r}" for name, default in spec.options.items())


def _source(spec: Spec) -> str:
    return spec.reference if str(spec.year) in spec.reference else f"{spec.reference} ({spec.year})"
