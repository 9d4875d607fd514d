"""What is installed is the tree: every module once, under ``ppgen``, by every way of installing."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests.marks import thorough

ROOT = Path(__file__).resolve().parents[1]
LINKS = {"ppgen/models": "models", "ppgen/inference": "inference"}
NOT_SOURCE = (".git", ".venv", "*.egg-info", "__pycache__", ".*_cache")
MADE_AT_THE_ROOT = {"runs", "build", "dist"}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def setuptools_table() -> dict[str, Any]:
    table: dict[str, Any] = project()["tool"]["setuptools"]
    return table


def folders() -> dict[str, Path]:
    """Every package by its import name, from the folder that holds its files."""
    roots = {"ppgen": ROOT / "ppgen", "ppgen.models": ROOT / "models", "ppgen.inference": ROOT / "inference"}
    found = {}
    for name, top in roots.items():
        for init in top.rglob("__init__.py"):  # does not walk through links
            inner = init.parent.relative_to(top).parts
            found[".".join((name, *inner))] = init.parent
    return found


def modules() -> set[str]:
    """Every Python file as its path in an installation."""
    return {
        f"{name.replace('.', '/')}/{file.name}" for name, folder in folders().items() for file in folder.glob("*.py")
    }


def data_files() -> set[str]:
    """The files of the packages that are not Python."""
    patterns = setuptools_table()["package-data"]["ppgen"]
    return {str(file.relative_to(ROOT)) for pattern in patterns for file in (ROOT / "ppgen").glob(pattern)}


def copy_of_the_tree(folder: Path) -> Path:
    """A copy to build in, so that nothing built before can leak into it."""
    nowhere = shutil.ignore_patterns(*NOT_SOURCE)

    def ignored(of: str, names: list[str]) -> set[str]:
        return nowhere(of, names) | (MADE_AT_THE_ROOT & set(names) if Path(of) == ROOT else set())

    return Path(shutil.copytree(ROOT, folder, symlinks=True, ignore=ignored))


def run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def editable_wheel(source: Path, out: Path) -> Path:
    """The wheel that ``pip install -e`` makes of ``source``."""
    out.mkdir()
    script = f"import setuptools.build_meta as backend; backend.build_editable({str(out)!r})"
    run(sys.executable, "-c", script, cwd=source)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    source = copy_of_the_tree(folder / "tree")
    run(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", folder, cwd=source)
    return next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory, sdist: Path) -> dict[str, Path]:
    """A wheel for each way of installing."""
    folder = tmp_path_factory.mktemp("wheels")
    tree, linkless = copy_of_the_tree(folder / "tree"), copy_of_the_tree(folder / "linkless")
    for link in LINKS:
        (linkless / link).unlink()
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    sources = {
        "wheel": tree,
        "wheel of the sdist": next((folder / "unpacked").iterdir()),
        "wheel without links": linkless,
    }
    built = {}
    for name, source in sources.items():
        out = folder / f"{name} out"
        run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", out, cwd=source)
        built[name] = next(out.glob("*.whl"))
    built["editable"] = editable_wheel(tree, folder / "editable out")
    built["editable without links"] = editable_wheel(linkless, folder / "linkless editable out")
    return built


def test_the_package_list_equals_the_tree() -> None:
    listed = setuptools_table()["packages"]
    assert sorted(listed) == sorted(folders()), "pyproject.toml: [tool.setuptools] packages must list every folder"


def test_every_folder_with_modules_is_a_package() -> None:
    known = set(folders().values())
    for top in ("ppgen", "models", "inference"):
        for file in (ROOT / top).rglob("*.py"):
            assert file.parent in known, f"{file.parent} holds modules and lacks an __init__.py"


@pytest.mark.parametrize("link", LINKS)
def test_the_links_are_relative(link: str) -> None:
    assert os.readlink(ROOT / link) == f"../{LINKS[link]}"


@pytest.mark.parametrize("name", LINKS.values())
def test_a_folder_refuses_another_import_name(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(f"got '{name}': use 'import ppgen.{name}'.")


def test_constraints_pin_every_direct_dependency() -> None:
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text().lower(), re.MULTILINE))
    table = project()["project"]
    wanted = list(chain(table["dependencies"], *table["optional-dependencies"].values()))
    names = {match.group() for match in (re.match(r"[\w.-]+", line) for line in wanted) if match}
    assert names - set(pinned) == set()
    assert pinned["torch"] == "2.13.0"


def test_every_install_of_the_makefile_is_constrained() -> None:
    installs = re.findall(r"pip install[^\n]*", (ROOT / "Makefile").read_text())
    assert installs
    assert all("-c constraints.txt" in line for line in installs)


def test_ci_calls_make_ci_and_nothing_else() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1] == "exec make ci"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "wheel of the sdist", "wheel without links"])
def test_a_wheel_holds_every_module_once_and_nothing_else(wheels: dict[str, Path], kind: str) -> None:
    names = Counter(zipfile.ZipFile(wheels[kind]).namelist())
    held = Counter({name: count for name, count in names.items() if ".dist-info/" not in name})
    assert held == Counter(modules() | data_files())
    assert {name.split("/")[0].split("-")[0] for name in names} == {"ppgen"}


@pytest.mark.slow
def test_the_sdist_holds_every_file_once(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = Counter(member.name.split("/", 1)[-1] for member in archive.getmembers() if member.isfile())
    sources = {
        str(folder.relative_to(ROOT) / file.name) for folder in folders().values() for file in folder.glob("*.py")
    }
    packed = {name for name in names if name.split("/")[0] in {"ppgen", "models", "inference"}}
    assert packed == sources | data_files()
    assert max(names.values()) == 1
    assert {"LICENSE", "README.md", "pyproject.toml"} <= set(names)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["wheel", *thorough(["editable", "wheel of the sdist", "wheel without links", "editable without links"])]
)
def test_an_installation_imports_every_module(wheels: dict[str, Path], kind: str, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", symlinks=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(tmp_path / "venv")}))
    zipfile.ZipFile(wheels[kind]).extractall(site)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    names = sorted(re.sub(r"(/__init__)?\.py$", "", name).replace("/", ".") for name in modules())
    script = "import importlib, sys; print(*(importlib.import_module(name).__name__ for name in sys.argv[1:]))"
    imported = run(tmp_path / "venv" / "bin" / "python", "-c", script, *names, cwd=tmp_path).split()
    assert imported == names
