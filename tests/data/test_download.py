"""Downloads against a server on this machine: whole, truncated, changed, missing, unreachable."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from ppgen.data import frey_faces, load_data
from ppgen.data.download import Remote, find, obtain
from ppgen.errors import UsageError

CONTENT = bytes(range(256)) * 2000  # several steps of the progress bar
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@dataclass
class Site:
    """A server's address, and what was asked of it."""

    address: str
    asked: list[str] = field(default_factory=list)
    bodies: dict[str, bytes] = field(
        default_factory=lambda: {
            "whole": CONTENT,
            "truncated": CONTENT[:1000],
            "short": CONTENT[:1000],
            "changed": CONTENT[::-1],
        }
    )

    def remote(self, *places: str, checksum: str = CHECKSUM) -> Remote:
        return Remote("file.bin", tuple(f"{self.address}/{place}" for place in places), checksum)


@pytest.fixture
def site() -> Iterator[Site]:
    """``/whole`` is the file; ``/truncated`` breaks off, ``/short`` ends early, ``/changed`` differs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place = self.path.strip("/")
            here.asked.append(place)
            if place not in here.bodies:
                self.send_error(404)
                return
            body = here.bodies[place]
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT) if place == "truncated" else len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        here = Site(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield here
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, no folder of files, and no proxy on the way to this machine."""
    folder = tmp_path / "cache"
    monkeypatch.setattr("pooch.os_cache", lambda project: folder)
    monkeypatch.delenv("PPGEN_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return folder


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


def test_a_whole_file_is_downloaded_once(site: Site, cache: Path) -> None:
    first, second = obtain(site.remote("whole")), obtain(site.remote("whole"))
    assert first == second == cache / "file.bin"
    assert first.read_bytes() == CONTENT
    assert site.asked == ["whole"]


@pytest.mark.parametrize(
    ("place", "came"),
    [
        ("truncated", "broke off before the end of the file"),
        ("short", f"gave a file whose checksum is not the expected {CHECKSUM}"),
        ("changed", f"gave a file whose checksum is not the expected {CHECKSUM}"),
        ("missing", "answered 404 Not Found"),
    ],
)
def test_a_failed_download_says_what_came_and_leaves_nothing(site: Site, cache: Path, place: str, came: str) -> None:
    with pytest.raises(UsageError) as caught:
        obtain(site.remote(place))
    message = str(caught.value)
    assert message == (
        f"could not download file.bin: {site.address}/{place} {came}; try again, or put the file into the "
        "folder that the environment variable PPGEN_DATA names."
    )
    assert files(cache) == []


def test_a_server_that_is_not_there_is_said_to_be(site: Site, cache: Path) -> None:
    with pytest.raises(UsageError, match=r"http://127\.0\.0\.1:1/file could not be reached"):
        obtain(Remote("file.bin", ("http://127.0.0.1:1/file",), CHECKSUM))
    assert files(cache) == []


def test_the_next_place_is_tried(site: Site) -> None:
    assert obtain(site.remote("missing", "truncated", "whole")).read_bytes() == CONTENT
    assert site.asked == ["missing", "truncated", "whole"]


def test_every_failure_is_named(site: Site) -> None:
    with pytest.raises(UsageError, match=r"/missing answered 404 .*; .*/changed gave a file whose checksum"):
        obtain(site.remote("missing", "changed"))


def test_a_damaged_file_in_the_cache_is_replaced(site: Site, cache: Path) -> None:
    obtain(site.remote("whole")).write_bytes(b"damaged")
    assert obtain(site.remote("whole")).read_bytes() == CONTENT
    assert site.asked == ["whole", "whole"]


def test_a_cache_that_cannot_be_written_is_named(site: Site, cache: Path) -> None:
    cache.write_bytes(b"a file where the folder should be")
    with pytest.raises(UsageError, match="could not be saved"):
        obtain(site.remote("whole"))


def test_a_loader_downloads_what_it_needs(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    savemat(tmp_path / "faces.mat", {"ff": np.arange(5600, dtype=np.uint8).reshape(560, 10)})
    site.bodies["faces.mat"] = (tmp_path / "faces.mat").read_bytes()
    checksum = f"md5:{hashlib.md5(site.bodies['faces.mat']).hexdigest()}"
    monkeypatch.setattr(frey_faces, "REMOTE", site.remote("faces.mat", checksum=checksum))
    monkeypatch.setattr(frey_faces, "ROWS", (6, 2, 2))
    assert load_data("frey_faces").spec.num_data == 6
    assert site.asked == ["faces.mat"]


def test_the_folder_of_files_comes_first(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file.bin").write_bytes(b"mine")
    monkeypatch.setenv("PPGEN_DATA", str(tmp_path))
    assert obtain(site.remote("whole")) == tmp_path / "file.bin"
    assert site.asked == []


def test_find_gives_the_first_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find("b") is None
    monkeypatch.setenv("PPGEN_DATA", str(tmp_path))
    assert find("a", "b") is None
    (tmp_path / "b").touch()
    assert find("a", "b") == tmp_path / "b"


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPGEN_DATA", str(tmp_path / "gone"))
    with pytest.raises(UsageError, match=r"PPGEN_DATA must name a folder, got '.*gone'"):
        find("a")
