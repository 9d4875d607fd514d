"""What each light is worth: its line of the last proof (:mod:`ppgen.diagnostics.proof`), on the page that shows it."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from ppgen.diagnostics.proof import COLUMNS, proof_of

__all__ = ["link_to", "worth"]


def link_to(question: str) -> Markup:
    """A link to the question's line; empty where it has none."""
    if question not in proof_of():
        return Markup("")
    return Markup(' <a href="#proof-{}">What this light is worth</a>').format(question)


def worth(questions: Iterable[str]) -> Markup:
    """The lines of these questions, behind a line that says what they are; empty where none has one."""
    lines = [proof_of()[name] for name in questions if name in proof_of()]
    if not lines:
        return Markup("")
    head = Markup("").join(Markup("<th>{}</th>").format(column) for column in COLUMNS)
    rows = Markup("").join(
        Markup('<tr id="proof-{}">{}</tr>').format(
            line.question, Markup("").join(Markup("<td>{}</td>").format(cell) for cell in line.cells())
        )
        for line in lines
    )
    return Markup(
        "<details><summary>What the lights are worth, by faults of known size</summary><p>Planted in pairs whose truth "
        "is known; a size of 1 is 0.2 nats or 0.3 standard deviations. Found: a light that is yellow or red.</p>"
        '<div class="scroll"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div></details>'
    ).format(head, rows)
