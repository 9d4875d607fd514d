"""The pages tell the truth: their examples run, their tables equal the registry, their links lead on."""

import re
from pathlib import Path

import pytest

from ppgen import tables
from ppgen.cli import main
from ppgen.training.options import TrainingOptions
from tests.marks import thorough
from tests.own_code import own_code_forgotten

ROOT = Path(__file__).resolve().parents[1]
PAGES = tables.pages(ROOT)
BLOCK = re.compile(r"^```python *(?P<flag>[\w-]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^ppgen (?P<name>[a-z]+)(?P<rest>[^#\n]*)", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def examples(page: Path) -> list[str]:
    """The Python blocks of a page, each moved down to its own lines, so that a traceback shows the page's."""
    text = page.read_text(encoding="utf-8")
    blocks = [block for block in BLOCK.finditer(text) if block["flag"] != "no-run"]
    return ["\n" * text.count("\n", 0, block.start("code")) + block["code"] for block in blocks]


WITH_EXAMPLES = [page for page in PAGES if examples(page)]
SHORT = [page for page in WITH_EXAMPLES if sum(map(len, examples(page))) < 3_000]
"""Pages whose examples are run each time; the long ones by ``make thorough``."""
EXAMPLES = [page if page in SHORT else thorough([page])[0] for page in WITH_EXAMPLES]


@pytest.mark.slow
@pytest.mark.parametrize("eager", [True, *thorough([False])], ids=lambda eager: "eager" if eager else "compiled")
@pytest.mark.parametrize("page", EXAMPLES, ids=lambda value: value.name)
def test_the_examples_of_a_page_run(page: Path, eager: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    defaults = TrainingOptions.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "eager", eager)
    names: dict[str, object] = {"__name__": "__main__"}
    with own_code_forgotten():
        for code in examples(page):
            exec(compile(code, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_block_is_run_or_says_that_it_is_not(page: Path) -> None:
    flags = {block["flag"] for block in BLOCK.finditer(page.read_text(encoding="utf-8"))}
    assert flags <= {"", "no-run"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_exist_with_their_options(
    page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    used: dict[str, set[str]] = {}
    for command in COMMAND.finditer(page.read_text(encoding="utf-8")):
        found = re.findall(r"(?<= )--?[A-Za-z][\w-]*", command["rest"])
        used.setdefault(command["name"], set()).update(found)
    for name, options in used.items():
        code = main([name, "--help"])
        said = capsys.readouterr()
        assert code == 0, f"{page.name}: ppgen {name} --help fails: {said.err}"
        unknown = options - set(re.findall(r"--?[A-Za-z][\w-]*", said.out))
        assert not unknown, f"{page.name}: ppgen {name} has no {', '.join(sorted(unknown))}"


def test_the_tables_equal_the_registry() -> None:
    names = [str(page.relative_to(ROOT)) for page in tables.stale(ROOT)]
    assert not names, f"stale tables in {', '.join(names)}: run python -m ppgen.tables"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    dead = [target for target in LINK.findall(text) if not (page.parent / target).exists()]
    assert not dead


def test_the_index_links_every_page() -> None:
    linked = set(LINK.findall((ROOT / "docs" / "index.md").read_text(encoding="utf-8")))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"} <= linked
