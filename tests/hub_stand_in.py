"""A small stand-in for the Hugging Face Hub on this machine, and its real client in a process of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SHA = "0123456789abcdef0123456789abcdef01234567"
BAD_TOKEN = "Invalid credentials in Authorization header"

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
    """What the Hub's HTTP says of a few models, and takes of whoever has the token "mine".

    Attributes:
        files: of each model, by name.
        asked: the paths that were asked for.
        heads: message of each commit that was pushed.
        faults: of a file's name, what its first answers are instead of what they should be: "cut" in the middle,
            "slow", "held" in the middle until ``released``, "moved" to another address, "other" bytes, or a status.
        said: size of a file as the Hub tells it, where that is not the true one.
        uploaded: large files that were sent before their commit, by hash.
    """

    def __init__(self, files: dict[str, dict[str, bytes]]) -> None:
        self.files, self.asked, self.heads = files, list[str](), list[dict]()
        self.faults: dict[str, list[str]] = {}
        self.said: dict[str, int] = {}
        self.uploaded: dict[str, bytes] = {}
        self.held, self.released = threading.Semaphore(0), threading.Event()
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
                self.reply(*hub.answer(self.path.partition("?")[0]))

            do_HEAD = do_GET

            def do_POST(self) -> None:
                hub.asked.append(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if not body and self.headers.get("Transfer-Encoding") == "chunked":
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                allowed = self.headers.get("Authorization") == "Bearer mine" or "/upload/" in self.path
                self.reply(*(hub.take(self.path.partition("?")[0], body) if allowed else (401, {}, b"{}")))

            do_PUT = do_POST

            def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
                faults = hub.faults.get(self.path.rpartition("/")[2], [])
                fault = faults.pop(0) if faults and self.command == "GET" else ""
                if fault == "moved":
                    status, headers, body = 302, {"Location": self.path + "?moved"}, b""
                elif fault == "other":
                    body = bytes(len(body))
                elif fault.isdecimal():
                    status, headers, body = int(fault), {}, b""
                begin = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
                if begin and status == 200:
                    headers |= {"Content-Range": f"bytes {begin}-{len(body) - 1}/{len(body)}"}
                    status, body = 206, body[begin:]
                self.send_response(status)
                for key, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                if fault == "cut":
                    self.wfile.write(body[: len(body) // 2])
                    self.close_connection = True
                elif fault == "slow":
                    self.wfile.write(body[: len(body) // 2])
                    self.wfile.flush()
                    hub.stopped.wait(3)  # longer than the client waits
                elif fault == "held":
                    self.wfile.write(body[: len(body) // 2])
                    self.wfile.flush()
                    hub.held.release()
                    hub.released.wait(300)
                    self.wfile.write(body[len(body) // 2 :])
                elif self.command != "HEAD":
                    self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.stopped.set()
        self.released.set()
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
        # What is asked without a revision is asked of the main branch.
        owner, name, verb, revision, *rest = [*(parts[2:] if api else parts), "revision", "main"][: max(4, len(parts))]
        repo = f"{owner}/{name}"
        if repo == "someone/busy":
            return 429, {}, b""
        if repo == "someone/token":
            return 401, {"X-Error-Message": BAD_TOKEN}, b"{}"
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
            told = [
                {
                    "rfilename": f,
                    "size": self.said.get(f, len(d)),
                    **(self.large(d) if f.endswith(".safetensors") else {}),
                }
                for f, d in files.items()
            ]
            return as_json({"id": repo, "sha": SHA, "siblings": told})
        if api and verb == "tree":
            return as_json(
                [
                    {"type": "file", "path": f, "size": len(d), "oid": hashlib.sha1(d).hexdigest()}
                    for f, d in files.items()
                ]
            )
        data = files.get("/".join(rest).partition("?")[0])
        if verb != "resolve" or data is None:
            return refusal(404, "EntryNotFound")
        return 200, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": SHA}, data

    @staticmethod
    def large(data: bytes) -> dict[str, dict]:
        return {"lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}}

    def take(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """What the Hub says to something that is sent to it by somebody who may."""

        def done(data: object) -> tuple[int, dict[str, str], bytes]:
            return 200, {"Content-Type": "application/json"}, json.dumps(data).encode()

        if "/upload/" in path:
            self.uploaded[path.rpartition("/")[2]] = body
            return 200, {}, b""
        if path.endswith("/objects/batch"):
            objects = [
                {**o, "actions": {"upload": {"href": f"{self.address}/upload/{o['oid']}", "header": {}}}}
                for o in json.loads(body)["objects"]
            ]
            return done({"transfer": "basic", "objects": objects})
        if path == "/api/validate-yaml":
            return done({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            told = json.loads(body)
            repo = f"{told['organization']}/{told['name']}"
            if repo == "other/model":
                return 403, {"X-Error-Message": "You don't have the rights"}, b"{}"
            self.files.setdefault(repo, {})
            return done({"url": f"{self.address}/{repo}", "name": repo})
        repo, verb = "/".join(path.split("/")[3:5]), path.split("/")[5]
        if verb == "preupload":
            names = [f["path"] for f in json.loads(body)["files"]]
            modes = ["lfs" if name.endswith(".safetensors") else "regular" for name in names]
            files = [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in zip(names, modes, strict=True)]
            return done({"files": files})
        for line in body.splitlines():
            told = json.loads(line)
            if told["key"] == "header":
                self.heads.append(told["value"])
            elif told["key"] == "file":
                self.files[repo][told["value"]["path"]] = base64.b64decode(told["value"]["content"])
            elif told["key"] == "lfsFile":
                self.files[repo][told["value"]["path"]] = self.uploaded[told["value"]["oid"]]
        return done({"commitUrl": f"{self.address}/{repo}/commit/{SHA}", "commitOid": SHA, "pullRequestUrl": None})


def fetch(
    names: list[str | None], address: str, home: Path, client: str = CLIENT, **environment: str
) -> list[dict[str, str]]:
    """What a new process that knows the Hub at ``address`` gets for some ids."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING")) and "proxy" not in k.lower()}
    done = subprocess.run(
        [sys.executable, "-c", client, json.dumps(names)],
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


def client(home: Path, address: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING")) and "proxy" not in k.lower()}
    offline = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[1],
        env={**kept, **offline, "HF_ENDPOINT": address, "HF_HOME": str(home), **environment},
    )
