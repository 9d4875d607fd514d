"""A run's model card, ``README.md`` in its folder: what it is, its numbers, whether to believe them, how to load it.

The card stands between two markers, and is written anew with each training, evaluation and diagnosis; what a person
writes around it stays. A ``README.md`` without the markers is somebody's own, and is left alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ppgen.diagnostics import Diagnosis
from ppgen.errors import UsageError
from ppgen.evaluation import Evaluation
from ppgen.files.checkpoint import go_on
from ppgen.files.documents import read_bytes, read_document
from ppgen.files.writing import write_all
from ppgen.pages.elements import name_of
from ppgen.pages.numbers import number
from ppgen.registry import MODELS
from ppgen.runs.config import CONFIG, read_config
from ppgen.runs.directory import DIAGNOSIS, EVALUATION, METRICS
from ppgen.training.metrics import read_metrics, score
from ppgen.training.options import TrainingOptions

__all__ = ["CARD", "card", "with_card", "write_card"]

T = TypeVar("T")

CARD = "README.md"

_BEGIN, _END = "<!-- card of the run -->", "<!-- end of card -->"
_CARD = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)
_HEAD = "---\nlibrary_name: ppgen\ntags:\n- pyro\n- generative-model\n---\n\n"
"""What a hub reads first."""

_MEND = "restore it, or delete it"


def write_card(folder: Path) -> None:
    """Write the card of the run in ``folder``, or write it anew between its markers.

    Raises:
        UsageError: the run's configuration or record was edited; the card cannot be written.
    """
    if files := with_card(folder):
        write_all(files, then=go_on())


def with_card(folder: Path, found: Evaluation | Diagnosis | None = None) -> dict[Path, bytes]:
    """The card as a file to be written, with what was found just now.

    There is none beside a ``README.md`` of somebody's own, nor in a folder that no training wrote.

    Raises:
        UsageError: the run's configuration or record was edited.
    """
    if not (folder / CONFIG).is_file():
        return {}
    file, made = folder / CARD, f"{_BEGIN}\n{card(folder, found)}{_END}"
    text = read_bytes(file, _MEND).decode(errors="replace") if file.is_file() else _HEAD + made + "\n"
    return {file: _CARD.sub(lambda _: made, text, count=1).encode()} if _CARD.search(text) else {}


def card(folder: Path, found: Evaluation | Diagnosis | None = None) -> str:
    """The card as Markdown, read from the run's own files, and from what was found since.

    Raises:
        UsageError: there is no run, or its record was edited.
    """
    config, lines = read_config(folder), read_metrics(folder / METRICS)
    model, objective, data = name_of(config["model"]), name_of(config["objective"]), config["spec"]["name"]
    parts = [
        f"# {model} on {data} by {objective}",
        _table(("", ""), _facts(config, lines)),
        "## Numbers",
        *_numbers(found if isinstance(found, Evaluation) else _kept(folder / EVALUATION, Evaluation), lines),
        "## Is the guide to be believed?",
        *_verdict(found if isinstance(found, Diagnosis) else _kept(folder / DIAGNOSIS, Diagnosis)),
        "## How to load it",
        _loading(config),
    ]
    return "\n\n".join(parts) + "\n"


def _facts(config: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    yield "model", _called(config["model"])
    yield "data", _called({"name": config["spec"]["name"], "options": config["data"].get("options", {})})
    if num := config["spec"].get("num_data"):
        yield "data to train on", f"{num:,}"
    yield "SHA-256 of the data", f"`{config['data']['sha256']}`"
    yield "objective", _called(config["objective"])
    usual = TrainingOptions().to_json()
    yield "training", _options({k: v for k, v in config["training"].items() if k == "seed" or usual.get(k) != v})
    if lines:
        yield "trained", f"{lines[-1]['step']:,} steps in {number(lines[-1]['seconds'], 0)} seconds"
    yield "device", config["device"]
    yield "versions", ", ".join(f"{name} {version}" for name, version in config["versions"].items())


def _kept(file: Path, kind: type[T]) -> T | None:
    """What a file of the run holds; a damaged one does not keep another from being written."""
    with suppress(UsageError):
        return read_document(file, kind, _MEND) if file.is_file() else None
    return None


def _numbers(found: Evaluation | None, lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if found is not None:
        yield f"{found.sentence}. ± is one standard error."
        if found.measures:
            yield _table(("measure", "value", "±", "what it says"), (measure.cells for measure in found.measures))
        return
    valid = [line for line in lines if line["split"] == "valid" and {"bound", "loss"} & line.keys()]
    if valid:
        what = "bound" if "bound" in valid[-1] else "minus loss"
        yield f"The last validation {what} is {number(score(valid[-1]))}; the run has not been evaluated."
    else:
        yield "The run has not been evaluated."


def _verdict(found: Diagnosis | None) -> Iterator[str]:
    if found is None:
        yield "The run has not been diagnosed."
        return
    yield f"{found.split}, {found.num_data:,} data, {found.tally}."
    if found.findings:
        yield _table(("status", "question", "number", "threshold", "what was found"), found.rows())


def _loading(config: Mapping[str, Any]) -> str:
    more = {
        "pair=": config["model"].get("name") not in MODELS and "the pair, made as it was",
        "data=": "name" not in config["data"] and "the data, as they were given to fit",
        "objective=": config["objective"].get("name") is None and "the objective, made as it was",
    }
    missing = {name: said for name, said in more.items() if said}
    given, told = "".join(f", {name}..." for name in missing), "".join(f"# {n} {said}\n" for n, said in missing.items())
    text = f'import ppgen\n\n{told}run = ppgen.load("this folder"{given})\nrun.evaluate(particles=1000)\n'
    return f"```python\n{text}```"


def _called(what: Mapping[str, Any]) -> str:
    """A name with its options, as they are written in Python."""
    return f"`{name_of(what)}({_options(what['options'], bare=True)})`"


def _options(options: Mapping[str, Any], *, bare: bool = False) -> str:
    text = ", ".join(f"{name}={_text(value)}" for name, value in options.items() if value is not None)
    return text if bare else f"`{text}`"


def _text(value: Any) -> str:
    if isinstance(value, Mapping) and "options" in value:
        return f"{name_of(value)}({_options(value['options'], bare=True)})"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
