"""The generated tables hold the registry, and nothing outside the markers changes."""

from pathlib import Path

import pytest

from ppgen import tables
from ppgen.errors import UsageError
from ppgen.registry import Registry

PAGE = "before\n<!-- table: models -->\nold\n<!-- end of table -->\nafter | the table\n"


def loader(*, labels: bool = False) -> None:
    """Stands for a registered data set."""


class Thing:
    """Stands for a registered class."""


@pytest.fixture
def registry() -> Registry:
    entries = Registry("model")
    entries.register("b", summary="q(z | x)", reference="Burda et al.", year=2016)(loader)
    entries.register("a", summary="first", reference="Kingma and Welling, 2014", year=2014)(Thing)
    return entries


@pytest.fixture
def checkout(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(tables.TABLES, "models", lambda: tables.table(registry))
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(PAGE)
    (tmp_path / "docs" / "models.md").write_text(PAGE)
    return tmp_path


def test_a_table_has_one_line_for_each_entry_by_name_and_each_year_once(registry: Registry) -> None:
    lines = tables.table(registry).splitlines()
    assert lines[2:] == [
        "| `a` | `Thing` | first | Kingma and Welling, 2014 |",
        "| `b` | `load_data('b', labels=)` | q(z \\| x) | Burda et al. (2016) |",
    ]


def test_rewriting_touches_only_what_stands_between_the_markers(checkout: Path, registry: Registry) -> None:
    assert tables.main([], checkout) == 0
    for page in (checkout / "README.md", checkout / "docs" / "models.md"):
        assert page.read_text() == PAGE.replace("old\n", tables.table(registry))


def test_rewriting_twice_changes_nothing(checkout: Path) -> None:
    tables.main([], checkout)
    assert tables.stale(checkout) == {}
    assert tables.main(["--check"], checkout) == 0


def test_checking_names_the_stale_pages_and_writes_nothing(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tables.main(["--check"], checkout) == 1
    assert capsys.readouterr().out.count("tables are stale") == 2
    assert (checkout / "README.md").read_text() == PAGE


def test_an_unknown_table_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"got 'model'.*did you mean 'models'"):
        tables.render(PAGE.replace("table: models", "table: model"))


def test_outside_a_checkout_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected README\.md"):
        tables.main([], tmp_path)
