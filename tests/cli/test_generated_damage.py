"""Files of a run with generated damage: read, or refused with one sentence; a run that is refused stays as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import pytest
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from ppgen.cli import main
from ppgen.errors import UsageError
from ppgen.files.checkpoint import read_checkpoint
from ppgen.runs.load import load
from ppgen.runs.record import Facts
from ppgen.runs.run import Run, read_config
from ppgen.runs.snapshots import Snapshots
from ppgen.training.metrics import read_metrics
from tests.cli_cases import BRIEF, RESUME, check_line, copied, files, run
from tests.generated import generated

Capture: TypeAlias = pytest.CaptureFixture[str]
Place: TypeAlias = tuple[str | int, ...]

DOCUMENTS = ["config.json", "evaluation.json", "diagnosis.json"]
GONE = object()
"""In the place of a value: its key is not there."""

_NUMBERS = st.integers() | st.sampled_from([10**9, 10**30, -1, 0]) | st.floats()
_PLAIN = st.none() | st.booleans() | _NUMBERS | st.text(max_size=5)
VALUES = st.just(GONE) | st.recursive(
    _PLAIN, lambda v: st.lists(v, max_size=2) | st.dictionaries(st.text(), v, max_size=2)
)


def _places(document: Any, above: Place = ()) -> Iterator[Place]:
    yield above
    entries: Any = enumerate(document) if isinstance(document, list) else getattr(document, "items", tuple)()
    for key, value in entries:
        yield from _places(value, (*above, key))


def _damaged(document: Any, place: Place, value: Any) -> Any:
    if not place:
        return [] if value is GONE else value
    changed = json.loads(json.dumps(document))
    parent = changed
    for key in place[:-1]:
        parent = parent[key]
    if value is GONE:
        del parent[place[-1]]
    else:
        parent[place[-1]] = value
    return changed


def _damage(data: st.DataObject, document: Any) -> bytes:
    """The document with a value replaced, or cut."""
    if data.draw(st.booleans(), "cut"):
        whole = json.dumps(document).encode()
        return whole[: data.draw(st.integers(0, len(whole) - 1), "length")]
    return json.dumps(
        _damaged(document, data.draw(st.sampled_from(list(_places(document)))), data.draw(VALUES))
    ).encode()


def _refusal(read: Callable[[], object]) -> str | None:
    """The sentence by which it is refused; None: it is read."""
    try:
        read()
    except UsageError as error:
        return str(error)
    return None


def _with_facts(file: Path, facts: Any) -> None:
    with safe_open(file, "pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # no iterator
    save_file(tensors, file, {"facts": json.dumps(facts)})


@pytest.fixture(scope="session")
def loaded(judged: Path) -> Run:
    return load(judged)


@pytest.mark.parametrize("name", DOCUMENTS)
@generated(st.data(), examples=100)
def test_a_damaged_document_is_read_or_refused(judged: Path, loaded: Run, name: str, data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder, name)
        file.write_bytes(_damage(data, json.loads((judged / name).read_bytes())))
        damaged = Run(loaded.pair, loaded.data, loaded.objective, loaded.config, [], Path(folder))
        of_run = name.removesuffix(".json")
        refusal = _refusal(lambda: getattr(damaged, of_run) if of_run != "config" else read_config(Path(folder)))
        assert refusal is None or name in refusal


@generated(st.data(), examples=100)
def test_a_damaged_record_is_read_or_refused(judged: Path, data: st.DataObject) -> None:
    lines = (judged / "metrics.jsonl").read_bytes().splitlines()
    number = data.draw(st.integers(0, len(lines) - 1))
    lines[number] = _damage(data, json.loads(lines[number]))
    with TemporaryDirectory() as folder:
        file = Path(folder, "metrics.jsonl")
        file.write_bytes(b"\n".join(lines))
        refusal = _refusal(lambda: read_metrics(file))
        assert refusal is None or str(file) in refusal


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "snapshots.safetensors"])
@generated(st.data(), examples=100)
def test_damaged_facts_are_read_or_refused(judged: Path, name: str, data: st.DataObject) -> None:
    _, facts = read_checkpoint(judged / name)
    with TemporaryDirectory() as folder:
        file = Path(shutil.copy(judged / name, folder))
        place = data.draw(st.sampled_from(list(_places(facts))))
        _with_facts(file, _damaged(facts, place, data.draw(VALUES)))
        is_snapshots = name.startswith("snapshots")
        refusal = _refusal(lambda: Snapshots.read(file.parent) if is_snapshots else read_checkpoint(file, Facts))
        assert refusal is None or str(file) in refusal


def _harm(data: st.DataObject, file: Path) -> None:
    """A value replaced, or bytes, or the file cut, gone, a folder, or a link."""
    content = file.read_bytes()
    how = data.draw(st.sampled_from(["value", "value", "value", "bytes", "cut", "gone", "folder", "link"]), "how")
    if how == "value" and file.suffix == ".safetensors":
        _, facts = read_checkpoint(file)
        _with_facts(file, _damaged(facts, data.draw(st.sampled_from(list(_places(facts)))), data.draw(VALUES)))
    elif how == "value" and file.suffix == ".json":
        file.write_bytes(_damage(data, json.loads(content)))
    elif how == "value" and file.suffix == ".jsonl":
        lines = content.splitlines()
        number = data.draw(st.integers(0, len(lines) - 1))
        lines[number] = _damage(data, json.loads(lines[number]))
        file.write_bytes(b"\n".join(lines) + b"\n")
    elif how in ("value", "bytes"):
        changed = bytearray(content)
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
            changed[place] = data.draw(st.integers(0, 255))
        file.write_bytes(changed)
    elif how == "cut":
        file.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    else:
        file.unlink()
        if how == "folder":
            file.mkdir()
        elif how == "link":
            file.symlink_to("nowhere")


ON_A_RUN = {name: line for name, line in BRIEF.items() if line[1:2] == ["r"]} | {"train": [*RESUME, "--out", "r"]}


@pytest.mark.parametrize("name", ON_A_RUN)
@generated(st.data(), examples=6)
def test_a_damaged_run_is_worked_with_or_left_alone(
    capsys: Capture, judged: Path, name: str, data: st.DataObject
) -> None:
    with copied(judged):
        harmed = data.draw(st.sampled_from(sorted(files(Path("r")))))
        _harm(data, Path("r", harmed))
        check_line(capsys, *ON_A_RUN[name])


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison."""
    folder = tmp_path_factory.mktemp("compared") / "c"
    assert main([*BRIEF["compare"], "--out", str(folder)]) == 0
    return folder


@generated(st.data(), examples=6)
def test_a_damaged_plan_is_repeated_or_refused(capsys: Capture, compared: Path, data: st.DataObject) -> None:
    with copied(compared):
        _harm(data, Path("r/config.json"))
        check_line(capsys, "compare", "--repeat", "r/config.json", "--out", "new")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seconds", "x"),
        ("seconds", -1.0),
        ("cursor", 1.5),
        ("cursor", 4),
        ("turn", 10**9),
        ("turn", True),
        ("metrics", -1),
        ("record", 10**9),
        ("bounds", [None]),
        ("sums", {"loss": 1.0}),
        ("sums", {"loss": 1.0, "loss/count": 0}),
        ("format", 2),
    ],
)
def test_a_fact_that_cannot_be_is_refused_and_the_run_left_alone(
    capsys: Capture, a_run: Path, name: str, value: Any
) -> None:
    file = a_run / "checkpoint.safetensors"
    _with_facts(file, {**read_checkpoint(file)[1], name: value})
    before = files(a_run)
    assert run(capsys, *RESUME, "--out", a_run).sentence
    assert files(a_run) == before


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("text", ["", "[" * 50_000, '{"a": ' * 50_000, "null", "[]", '"x"', '{"format": 2}'])
def test_a_file_that_is_no_document_is_named(judged: Path, loaded: Run, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    damaged = Run(loaded.pair, loaded.data, loaded.objective, loaded.config, [], tmp_path)
    with pytest.raises(UsageError, match=f"{name} (cannot be read|is of format 2, and this version)"):
        _ = read_config(tmp_path) if name == "config.json" else getattr(damaged, name.removesuffix(".json"))


def test_a_checkpoint_of_an_earlier_version_is_gone_on_from(capsys: Capture, a_run: Path) -> None:
    file = a_run / "checkpoint.safetensors"
    facts = {name: value for name, value in read_checkpoint(file)[1].items() if name not in ("format", "record")}
    _with_facts(file, facts)
    assert "after 6 steps" in run(capsys, *RESUME, "--out", a_run).out


def test_an_evaluation_and_a_diagnosis_are_read_once(judged: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(judged, tmp_path / "r"))
    loaded = load(folder)
    assert loaded.evaluation is loaded.evaluation
    assert loaded.diagnosis is loaded.diagnosis
    loaded.evaluate(particles=3, num_data=2)
    assert loaded.evaluation is not None
    assert loaded.evaluation.num_data == 2
