"""Checkpoints from the Hub: huggingface_hub's own client against a small stand-in on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from lamdemo import DEFAULT_CHECKPOINT
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import TransferPipeline, resolve_checkpoint, save_latents
from lamdemo.models import checkpoint_hash

SHA = "0123456789abcdef0123456789abcdef01234567"

# The client reads its address and its cache from the environment when it is imported: a process of its own.
CLIENT = """
import json, sys
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import TransferPipeline
for name in json.loads(sys.argv[1]):
    try:
        pipeline = TransferPipeline.from_pretrained(name)
        print(json.dumps({"name": pipeline.name, "hash": pipeline.checkpoint}))
    except LamdemoError as error:
        print(json.dumps({"error": str(error)}))
"""


class Hub:
    """What the Hub's HTTP says of a few models; ``asked`` are the paths that were asked for."""

    def __init__(self, files: dict[str, dict[str, bytes]]) -> None:
        self.files, self.asked = files, list[str]()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                hub.asked.append(self.path)
                if "someone/cut" in self.path:  # hangs up
                    self.close_connection = True
                    return
                status, headers, body = hub.answer(self.path.partition("?")[0])
                self.send_response(status)
                for key, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        def refusal(status: int, code: str) -> tuple[int, dict[str, str], bytes]:
            return status, {"X-Error-Code": code, "X-Error-Message": code}, b"{}"

        def as_json(data: object) -> tuple[int, dict[str, str], bytes]:
            return 200, {"Content-Type": "application/json"}, json.dumps(data).encode()

        parts = path.strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        owner, name, verb, revision, *rest = parts[2:] if api else parts
        repo = f"{owner}/{name}"
        if repo == "someone/gated":
            return refusal(403, "GatedRepo")
        if repo == "someone/broken":
            return 500, {}, b""
        if repo == "someone/portal":  # what a hotel's network says before one has paid
            return 200, {"Content-Type": "text/html"}, b"<html>Welcome</html>"
        if repo not in self.files:
            # What the Hub says of a missing model to somebody who is not logged in.
            return refusal(401, "RepoNotFound")
        if revision not in ("main", "v1", SHA):
            return refusal(404, "RevisionNotFound")
        files = self.files[repo]
        if api and verb == "revision":
            return as_json({"id": repo, "sha": SHA, "siblings": [{"rfilename": f} for f in files]})
        if api and verb == "tree":
            return as_json(
                [
                    {"type": "file", "path": f, "size": len(d), "oid": hashlib.sha1(d).hexdigest()}
                    for f, d in files.items()
                ]
            )
        data = files.get("/".join(rest))
        if verb != "resolve" or data is None:
            return refusal(404, "EntryNotFound")
        return 200, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": SHA}, data


@pytest.fixture
def hub(tiny_checkpoint: Path) -> Iterator[Hub]:
    files = {p.name: p.read_bytes() for p in tiny_checkpoint.iterdir()}
    # Neither is wanted, and the second must never be run: a checkpoint holds no code.
    files |= {"optimizer.bin": b"x" * 100_000, "modeling.py": b"raise SystemExit"}
    hub = Hub({"someone/tiny": files, "someone/else": {"README.md": b"# Something else"}})
    yield hub
    if hub.thread.is_alive():
        hub.stop()


def fetch(names: list[str | None], address: str, home: Path, **environment: str) -> list[dict[str, str]]:
    """What a new process that knows the Hub at ``address`` gets for some ids."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING")) and "proxy" not in k.lower()}
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, json.dumps(names)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[1],
        env={
            **kept,
            "HF_ENDPOINT": address,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            **environment,
        },
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    for answer in answers:
        if "error" in answer:
            sentence = answer["error"]
            assert "\n" not in sentence and len(sentence) < 200 and sentence.endswith(".")
            assert str(home) not in sentence and address not in sentence
    return answers


def test_models_come_from_the_hub_once_and_from_this_machine_after(
    hub: Hub, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    wanted = checkpoint_hash(tiny_checkpoint)
    online = ["someone/tiny@v1", "someone/tiny", "someone/nothing", "someone/tiny@v9", "someone/gated"]
    online += ["someone/else", "someone/broken", "some--one/tiny", "someone/portal", "someone/cut"]
    first = fetch([*online], hub.address, tmp_path)
    assert first[0] == {"name": "someone/tiny@v1", "hash": wanted}
    assert first[1] == {"name": "someone/tiny", "hash": wanted}
    assert "someone/nothing" in first[2]["error"] and "spelling" in first[2]["error"]
    assert "no revision v9" in first[3]["error"]
    assert "gated" in first[4]["error"] and "log in" in first[4]["error"]
    assert "lacks config.json" in first[5]["error"]
    assert "cannot be reached" in first[6]["error"]
    assert "spelling" in first[7]["error"]
    assert "could not be fetched" in first[8]["error"]
    assert "could not be fetched" in first[9]["error"]

    files = [path for path in hub.asked if "/resolve/" in path]
    assert any(path.endswith("model.safetensors") for path in files)
    assert not any(path.endswith((".bin", ".py")) for path in files)
    hub.stop()

    # Without any network: what was fetched is there, what was not is told, and nothing at all is needed for
    # the checkpoint that comes with the code.
    (tmp_path / "bundled").mkdir()
    (tmp_path / "bundled" / DEFAULT_CHECKPOINT).symlink_to(tiny_checkpoint)
    names = ["someone/tiny@v1", "someone/tiny", "someone/never", "someone/tiny@v2", None]
    then = fetch(names, hub.address, tmp_path, LAMDEMO_CHECKPOINTS=str(tmp_path / "bundled"))
    assert then[0]["hash"] == then[1]["hash"] == wanted
    assert "cannot be reached" in then[2]["error"] and "someone/never" in then[2]["error"]
    assert "cannot be reached" in then[3]["error"]
    assert then[4] == {"name": DEFAULT_CHECKPOINT, "hash": wanted}


def test_the_sample_of_latents_comes_with_a_model_that_has_one(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = shutil.copytree(tiny_checkpoint, tmp_path / "mine")
    save_latents(mine, np.random.default_rng(0).normal(size=(50, 16)))
    hub = Hub({"someone/sampled": {p.name: p.read_bytes() for p in mine.iterdir()}})
    try:
        (answer,) = fetch(["someone/sampled"], hub.address, tmp_path / "home")
    finally:
        hub.stop()
    assert answer == {"name": "someone/sampled", "hash": checkpoint_hash(mine)}
    assert any(path.endswith("/latents.safetensors") for path in hub.asked)
    (fetched,) = (tmp_path / "home").rglob("latents.safetensors")
    assert fetched.read_bytes() == (mine / "latents.safetensors").read_bytes()


def test_an_atlas_and_a_learned_prior_come_with_a_model_that_has_them(tiny_checkpoint: Path, tmp_path: Path) -> None:
    files = {p.name: p.read_bytes() for p in tiny_checkpoint.iterdir()}
    more = {"atlas.safetensors": b"an atlas", "prior.json": b"{}", "prior.safetensors": b"a prior"}
    hub = Hub({"someone/more": files | more})
    try:
        fetch(["someone/more"], hub.address, tmp_path / "home")
    finally:
        hub.stop()
    (folder,) = (p.parent for p in (tmp_path / "home").rglob("config.json"))
    assert {name: (folder / name).read_bytes() for name in more} == more


def test_a_place_that_cannot_be_written_is_told(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file, where a folder should be")
    (answer,) = fetch(["someone/tiny"], hub.address, tmp_path / "home")
    assert "cannot be kept on this machine" in answer["error"] and "HF_HOME" in answer["error"]


def test_bundled_checkpoints_and_folders_need_no_hub(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / DEFAULT_CHECKPOINT).symlink_to(tiny_checkpoint)
    monkeypatch.setenv("LAMDEMO_CHECKPOINTS", str(tmp_path))
    assert TransferPipeline.from_pretrained().checkpoint == checkpoint_hash(tiny_checkpoint)
    assert resolve_checkpoint(DEFAULT_CHECKPOINT) == tmp_path / DEFAULT_CHECKPOINT
    assert resolve_checkpoint(tiny_checkpoint) == tiny_checkpoint


@pytest.mark.parametrize("name", ["nothing here", "../up", "a/b/c", "x" * 5000, "owner/na me", "owner/name@"])
def test_what_is_no_checkpoint_is_told_without_asking_the_hub(name: str) -> None:
    with pytest.raises(LamdemoError, match="no checkpoint") as caught:
        resolve_checkpoint(name)
    assert len(str(caught.value)) < 300


def test_without_a_bundled_checkpoint_the_default_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMDEMO_CHECKPOINTS", str(tmp_path))
    with pytest.raises(LamdemoError, match="--checkpoint"):
        resolve_checkpoint()
