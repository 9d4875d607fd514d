"""A run goes to a hub on this machine and comes back, by the real library; nothing but its own files travels."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import ppgen
from ppgen.cli import main
from ppgen.runs import hub

SHA = "a" * 40


@dataclass
class Hub:
    """What a hub holds, by repository and path, and what was asked of it."""

    address: str
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    """As much of the protocol as ``huggingface_hub`` uses for small files."""

    here: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = self.path.strip("/").split("/")
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            known = name in self.here.repositories
            self.here.repositories.setdefault(name, {})
            self.here.private.setdefault(
                name, "private" in (asked.get("visibility"), asked.get("private") and "private")
            )
            self._json({"url": f"{self.here.address}/{name}", "name": name}, 409 if known else 200)
        elif self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif "preupload" in parts:
            files = [{**f, "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]]
            self._json({"files": files, "commitOid": SHA})
        elif "commit" in parts:
            name = "/".join(parts[2:4])
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.here.repositories[name][line["value"]["path"]] = content
            self._json({"commitUrl": f"{self.here.address}/{name}/commit/{SHA}", "commitOid": SHA, "success": True})
        else:
            self._json({"error": "not found"}, 404)

    def do_HEAD(self) -> None:
        self._serve(with_body=False)

    def do_GET(self) -> None:
        self._serve(with_body=True)

    def _serve(self, *, with_body: bool) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"] and "/".join(parts[2:4]) in self.here.repositories:
            name = "/".join(parts[2:4])
            files = self.here.repositories[name]
            if "tree" in parts:
                self._json([{"type": "file", "path": p, "size": len(b), "oid": _hash(b)} for p, b in files.items()])
                return
            siblings = [{"rfilename": path} for path in files]
            self._json({"id": name, "modelId": name, "sha": SHA, "siblings": siblings, "private": False, "tags": []})
            return
        name, path = "/".join(parts[:2]), "/".join(parts[4:])
        if path not in self.here.repositories.get(name, {}):
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.here.asked.append(path)
        body = self.here.repositories[name][path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{_hash(body)}"')
        self.send_header("X-Repo-Commit", SHA)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _json(self, document: Any, code: int = 200) -> None:
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _hash(body: bytes) -> str:
    return hashlib.sha1(body).hexdigest()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, which the library takes for the one there is, and a cache of its own."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        _Handler.here = Hub(address)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.HUGGINGFACE_CO_URL_HOME.rstrip("/"), address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield _Handler.here
        server.shutdown()
        thread.join()


def test_a_run_comes_back_as_it_went_and_only_its_own_files_travel(site: Hub, a_run: Path, tmp_path: Path) -> None:
    (a_run / "secret.txt").write_text("mine")
    (a_run / "tensorboard").mkdir()
    (a_run / "tensorboard" / "config.json").write_text("{}")
    address = ppgen.push(ppgen.load(a_run), "me/vae")
    assert address.startswith(f"{site.address}/me/vae")
    own = {file.name for file in a_run.iterdir() if file.name in hub.FILES}
    assert set(site.repositories["me/vae"]) == own
    site.repositories["me/vae"]["evil.pkl"] = b"never"
    folder = ppgen.pull("hf://me/vae", tmp_path / "again")
    assert {file.name for file in folder.iterdir()} == own
    assert all((folder / name).read_bytes() == (a_run / name).read_bytes() for name in own)
    assert "evil.pkl" not in site.asked


def test_a_run_is_loaded_from_a_hub_and_nothing_is_kept_there(site: Hub, a_run: Path) -> None:
    hub.push(a_run, "me/vae", private=True)
    assert site.private["me/vae"]
    run, here = ppgen.load("hf://me/vae"), ppgen.load(a_run)
    assert run.evaluate(particles=2, num_data=3) == here.evaluate(particles=2, num_data=3)
    assert run.evaluation is None
    assert here.evaluation is not None


def test_the_command_line_pushes_and_pulls(
    site: Hub, a_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(a_run), "me/vae"]) == 0
    assert capsys.readouterr().out.startswith(f"{site.address}/me/vae/commit/")
    assert main(["pull", "me/vae", "--out", str(tmp_path / "again")]) == 0
    assert main(["pull", "me/vae", "--out", str(tmp_path / "again")]) == 2
    assert "holds a run already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [("me/none", "cannot read 'me/none' from the hub"), ("me//", "cannot read 'me//' from the hub")],
)
def test_what_is_not_there_is_one_sentence_and_nothing_is_written(
    site: Hub, tmp_path: Path, name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pull", name, "--out", str(tmp_path / "again")]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "again").exists()


def test_a_repository_that_holds_no_run_says_so(site: Hub, tmp_path: Path) -> None:
    site.repositories["me/other"] = {"README.md": b"a model", "model.bin": b"\x80"}
    with pytest.raises(ppgen.UsageError, match=r"found no config.json"):
        ppgen.pull("me/other", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_folder_that_is_no_run_is_not_pushed(site: Hub, tmp_path: Path) -> None:
    with pytest.raises(ppgen.UsageError, match=r"found no config.json"):
        hub.push(tmp_path, "me/vae")
    assert site.repositories == {}


def test_what_the_hub_refuses_leaves_the_run_as_it_was(a_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (a_run / "README.md").unlink()
    before = {file.name: file.read_bytes() for file in a_run.iterdir()}
    with pytest.raises(ppgen.UsageError, match="cannot push"):
        hub.push(a_run, "me/vae")
    assert {file.name: file.read_bytes() for file in a_run.iterdir()} == before


def test_the_extra_is_named_where_the_library_is_missing(a_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    for call in (lambda: hub.push(a_run, "me/vae"), lambda: hub.pull("me/vae", "x"), lambda: ppgen.load("hf://me/vae")):
        with pytest.raises(ppgen.UsageError, match=r"pip install 'ppgen\[hub\]'"):
            call()
