"""The container's files: no engine runs in the tests, so what can be known of them without one."""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from lamdemo import DEFAULT_CHECKPOINT

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """What the Dockerfile says, with its lines joined and without comments."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    found = re.findall(r"^([A-Z]+) (.*)$", "\n".join(lines).replace("\\\n", " "), re.M)
    assert found
    return found


def seen() -> list[str]:
    """What a build sees of the repository's top, by .dockerignore: nothing but what it names."""
    rules = [r for r in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if r and r[0] != "#"]
    assert rules[0] == "*"
    return [rule[1:] for rule in rules if rule.startswith("!")]


def test_two_stages_no_root_a_check_and_the_checkpoint_inside() -> None:
    words = instructions()
    froms = [text for word, text in words if word == "FROM"]
    assert len(froms) == 2 and froms[0].endswith(" AS build") and froms[1] == froms[0].removesuffix(" AS build")
    last = words[[i for i, (word, _) in enumerate(words) if word == "FROM"][-1] :]
    assert ("USER", "1000") in last and any("--uid 1000" in text for word, text in last if word == "RUN")
    assert not any("pip install" in text or "apt-get" in text for word, text in last if word == "RUN")
    assert any(word == "HEALTHCHECK" and "healthy.py" in text for word, text in last)
    assert last[-1] == ("CMD", '["lamdemo", "app"]')
    assert f"checkpoints/{DEFAULT_CHECKPOINT}" in seen()  # which the wheel takes in
    assert not re.search(r"https?://(?!127\.0\.0\.1)", DOCKERFILE + (ROOT / "container/install.sh").read_text())


def test_all_that_is_copied_is_there_and_seen() -> None:
    names = seen()
    assert all((ROOT / name).exists() for name in names), names
    for word, text in instructions():
        if word == "COPY" and "--from" not in text:
            *sources, _ = shlex.split(text)
            for source in sources:
                assert (ROOT / source).exists()
                assert source == "." or any(fnmatch.fnmatch(source, n) or source.startswith(f"{n}/") for n in names)
    # What the wheel is built of.
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE", "THIRD_PARTY_NOTICES.md", "lamdemo"} <= set(names)


def test_compose_builds_it_and_keeps_what_is_fetched() -> None:
    told = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    service = told["services"]["lamdemo"]
    declared = {text.partition("=")[0] for word, text in instructions() if word == "ARG"}
    assert set(service["build"]["args"]) <= declared
    ((volume, place),) = (v.split(":") for v in service["volumes"])
    assert volume in told["volumes"] and ("VOLUME", place) in instructions() and f"HF_HOME={place}" in DOCKERFILE
    port = re.search(r"GRADIO_SERVER_PORT=(\d+)", DOCKERFILE)
    assert port is not None and service["ports"][0].endswith(f":{port[1]}") and ("EXPOSE", port[1]) in instructions()


def test_the_script_says_what_it_lacks() -> None:
    script = ROOT / "container" / "install.sh"
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0 and os.access(script, os.X_OK)
    for arguments, words in (((), "requirements or package"), (("package",), "folder of the environment")):
        done = subprocess.run(["bash", str(script), *arguments], capture_output=True, text=True)
        assert done.returncode != 0 and words in done.stderr
    for text in (t for word, t in instructions() if word == "RUN" and "install.sh" in t):
        assert re.search(r"install\.sh (requirements|package) /opt/lamdemo$", text)


@pytest.fixture
def page() -> Iterator[tuple[str, list[int]]]:
    """A port that answers with what the list says."""
    status = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status[0] if self.path == "/config" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield str(server.server_port), status
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_health_check_knows_a_page_that_answers(page: tuple[str, list[int]]) -> None:
    port, status = page

    def check(at: str) -> int:
        given = {**os.environ, "GRADIO_SERVER_PORT": at, "http_proxy": "http://127.0.0.1:9"}
        return subprocess.run([sys.executable, str(ROOT / "container" / "healthy.py")], env=given).returncode

    assert check(port) == 0
    status[0] = 500
    assert check(port) == 1 and check("9") == 1
