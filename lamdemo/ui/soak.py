"""Visitors, good and bad, at a page for a while, and what became of it.

The good ones transfer actions and compare each result with the one of a quiet run. The bad ones send what harms, send
it slowly, ask and leave, ask the same several times at once. All are real clients: `gradio_client`, and bare sockets
for what it would not do.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import file_hash

PAIRS = 6  # different transfers
_CLEAR = (
    "try again",
    "give ",
    "upload ",
    "choose ",
    "make it smaller",
    "record or download",
    "copy it again",
    "export",
)
_START = 180.0  # seconds that a server may take to be ready
_EVERY = 5.0  # seconds between two looks at the server
_PATIENCE = 300.0  # seconds that a visitor waits for a sign of life


@dataclass
class Tally:
    """What was asked and what came of it. May be used from any thread."""

    ends: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    words: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, end: str, seconds: float, words: str = "") -> None:
        """Count one."""
        with self.lock:
            self.ends[kind][end] += 1
            self.seconds[f"{kind}, {end}"].append(seconds)
            if words:
                self.words[f"{kind}: {words[:160]}"] += 1


@dataclass(frozen=True)
class Material:
    """What visitors bring."""

    # Source, target and the result's hash in a quiet run, each with its strength.
    pairs: list[tuple[Path, Path, float, str]]
    harmful: dict[str, Path]  # files by what they are


def harmful_files(folder: Path, clip: Path) -> dict[str, Path]:
    """A few of each kind that `tests/hostile_files.py` makes thousands of."""
    whole, stream = clip.read_bytes(), io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("z.npy", bytes(100_000_000))
    made = {
        "empty.mp4": b"",
        "noise.mp4": random.Random(0).randbytes(50_000),
        "cut.mp4": whole[: len(whole) // 3],
        "flipped.mp4": bytes(b ^ (i % 97 == 0) for i, b in enumerate(whole)),
        "bomb.mp4": stream.getvalue(),
        "list.m3u8": b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n",
        "picture.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "huge.bmp": b"BM" + bytes(16) + b"\xff\xff\xff\x7f" * 2 + bytes(90),
    }
    for name, data in made.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in made}


# Visitors.


class Visitor:
    """One after another of what visitors do, as chance has it."""

    def __init__(self, url: str, material: Material, tally: Tally, seed: int, folder: Path) -> None:
        self.url, self.material, self.tally, self.folder = url, material, tally, folder
        self.chance = random.Random(seed)

    def go_on(self, until: float) -> None:
        """Come again and again until then."""
        kinds: list[tuple[str, Callable[[], tuple[str, str]], int]] = [
            ("transfer", self.transfer, 8),
            ("harmful file", self.harm, 4),
            ("look at the page", self.look, 2),
            ("ask and leave", self.leave, 2),
            ("the same three times", self.repeat, 1),
            ("slow upload", self.slowly, 1),
            ("half an upload", self.half, 1),
        ]
        while time.monotonic() < until:
            (name, act, _), began = self.chance.choices(kinds, [weight for *_, weight in kinds])[0], time.monotonic()
            try:
                end, words = act()
            except Exception as error:
                end, words = "lost", f"{type(error).__name__}: {error}"
            self.tally.add(name, end, time.monotonic() - began, words)

    @contextmanager
    def client(self) -> Iterator[Any]:
        """A page of its own."""
        client = _client(self.url, self.folder)
        try:
            yield client
        finally:
            with suppress(Exception):
                client.close()
            # Its threads would stay until it is collected, a few for each of thousands of visits.
            for pool in ("executor", "helper_executor", "stream_executor"):
                if (made := getattr(client, pool, None)) is not None:
                    made.shutdown(wait=False, cancel_futures=True)

    def transfer(self) -> tuple[str, str]:
        """As a quiet run gives it, or refused in a sentence."""
        with self.client() as client:
            return self._transferred(client, *self.chance.choice(self.material.pairs))

    def _transferred(self, client: Any, source: Path, target: Path, strength: float, wanted: str) -> tuple[str, str]:
        try:
            return ("done" if ask(client, source, target, strength) == wanted else "wrong"), ""
        except LamdemoError as error:
            words = str(error)
            return ("busy" if "in line already" in words or "queue" in words.lower() else "refused"), words

    def harm(self) -> tuple[str, str]:
        """A harmful file as a source or a target: a sentence, or a result where something is left of a clip."""
        name, path = self.chance.choice(list(self.material.harmful.items()))
        source, target, strength, _ = self.chance.choice(self.material.pairs)
        pair = (path, target) if self.chance.random() < 0.5 else (source, path)
        with self.client() as client:
            try:
                ask(client, *pair, strength)
            except LamdemoError as error:
                words = str(error)
                clear = any(word in words for word in _CLEAR) and "/" not in words.replace("and/or", "")
                return ("refused" if clear else "unclear"), f"{name}: {words}"
        return "done", name

    def look(self) -> tuple[str, str]:
        """What a browser fetches first, and what watches a server."""
        for path in ("/", "/config", "/health", "/ready"):
            status, _ = fetch(self.url, path)
            if status not in (200, 503):
                return "lost", f"{path} gives {status}"
        return "done", ""

    def leave(self) -> tuple[str, str]:
        """Ask for a transfer and go away before it is there."""
        from gradio_client import handle_file

        source, target, strength, _ = self.chance.choice(self.material.pairs)
        with self.client() as client:
            files = handle_file(str(source)), handle_file(str(target))
            job = client.submit(*files, strength, False, 1, api_name="/transfer")
            time.sleep(self.chance.uniform(0.2, 3))
            job.cancel()
        return "left", ""

    def repeat(self) -> tuple[str, str]:
        """One page asks for the same three times at once."""
        pair, ends = self.chance.choice(self.material.pairs), []
        with self.client() as client:
            threads = [threading.Thread(target=lambda: ends.append(self._kept(client, pair))) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        worst = next((end for end in ("lost", "wrong", "refused", "busy") if end in dict(ends)), "done")
        return worst, next((words for end, words in ends if end == worst), "")

    def _kept(self, client: Any, pair: tuple[Path, Path, float, str]) -> tuple[str, str]:
        try:
            return self._transferred(client, *pair)
        except Exception as error:
            return "lost", f"{type(error).__name__}: {error}"

    def slowly(self) -> tuple[str, str]:
        """A file that comes a few bytes at a time."""
        with self._upload(self.material.pairs[0][0].read_bytes()[:4000]) as (server, pieces):
            for piece in pieces:
                server.sendall(piece)
                time.sleep(0.2)
            answer = server.recv(4096)
        return ("done" if b" 200 " in answer[:20] else "lost"), answer[:60].decode("latin-1") * (b" 200 " not in answer)

    def half(self) -> tuple[str, str]:
        """A file of which half comes, and then nothing."""
        with self._upload(self.material.pairs[0][0].read_bytes()) as (server, pieces):
            server.sendall(b"".join(pieces[: len(pieces) // 2]))
        return "left", ""

    @contextmanager
    def _upload(self, content: bytes) -> Iterator[tuple[socket.socket, list[bytes]]]:
        mark = "visitor" * 4
        head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'.encode()
        body, place = head + content + f"\r\n--{mark}--\r\n".encode(), urlsplit(self.url)
        asked = (
            f"POST /gradio_api/upload HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: close\r\n"
            f"Content-Type: multipart/form-data; boundary={mark}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection((place.hostname, place.port or 80), 60) as server:
            yield server, [asked.encode(), *(body[at : at + 400] for at in range(0, len(body), 400))]


def _client(url: str, folder: Path) -> Any:
    """A page of its own. A browser waits for as long as a busy server takes; the client would leave after seconds."""
    from gradio_client import Client

    patient = {"timeout": _PATIENCE}
    return Client(url, verbose=False, download_files=str(folder), analytics_enabled=False, httpx_kwargs=patient)


def ask(client: Any, source: Path, target: Path, strength: float) -> str:
    """The hash of a transfer's video.

    Raises:
        LamdemoError: what the page said instead.
    """
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    files = handle_file(str(source)), handle_file(str(target))
    try:
        video = Path(client.predict(*files, strength, False, 1, api_name="/transfer"))
    except AppError as error:
        raise LamdemoError(error.message) from error
    # It stays where it is: results that are the same are one file there, which another visitor may be reading.
    return file_hash(video)


def fetch(url: str, path: str) -> tuple[int, bytes]:
    """What a server answers."""
    place = urlsplit(url)
    server = http.client.HTTPConnection(place.hostname or "", place.port or 80, timeout=60)
    try:
        server.request("GET", path)
        answer = server.getresponse()
        return answer.status, answer.read()
    finally:
        server.close()


# The server.


@contextmanager
def started(checkpoint: str | None, scratch: Path) -> Iterator[tuple[str, int]]:
    """A page of its own process: its address, and the number of the process.

    Raises:
        LamdemoError: it does not start.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "lamdemo", "app", "--port", str(port)]
    command += ["--checkpoint", checkpoint] if checkpoint else []
    kept = {k: v for k, v in os.environ.items() if k not in ("GRADIO_TEMP_DIR", "LAMDEMO_HOST", "SPACE_ID")}
    with open(scratch / "server.log", "wb") as log:
        server = subprocess.Popen(
            command, env={**kept, "TMPDIR": str(scratch), "LAMDEMO_LOG": "1"}, stdout=log, stderr=log
        )
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + _START
    try:
        while True:
            with suppress(OSError):
                if fetch(url, "/ready")[0] == 200:
                    break
            if server.poll() is not None or time.monotonic() > until:
                raise LamdemoError("The page did not start; try lamdemo app, which says why.")
            time.sleep(0.2)
        yield url, server.pid
    finally:
        ended(server)


def ended(server: subprocess.Popen[Any]) -> None:
    """Ask a server to end, and make it if it does not."""
    server.terminate()
    try:
        server.wait(60)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _log(scratch: Path) -> str:
    return (scratch / "server.log").read_text(encoding="utf-8", errors="replace")


def usage(process: int, scratch: Path) -> dict[str, int]:
    """What a server takes: its memory, and that of the programs that it runs, in kB; files, threads, disk."""
    from lamdemo.ui.workplace import bytes_in

    def status(number: int, key: str) -> int:
        with suppress(OSError):
            for line in Path(f"/proc/{number}/status").read_text(encoding="utf-8").splitlines():
                if line.startswith(f"{key}:"):
                    return int(line.split()[1])
        return 0

    children = []
    with suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            children += (task / "children").read_text(encoding="utf-8").split()
    files = 0
    with suppress(OSError):
        files = len(os.listdir(f"/proc/{process}/fd"))
    return {
        "memory_kb": status(process, "VmRSS"),
        "memory_of_children_kb": sum(status(int(child), "VmRSS") for child in children),
        "children": len(children),
        "open_files": files,
        "threads": status(process, "Threads"),
        "disk_kb": bytes_in(scratch) // 1000,
    }


def soak(
    minutes: float,
    clients: int,
    *,
    checkpoint: str | None = None,
    seed: int = 0,
    say: Callable[[str], object] = lambda _: None,
) -> dict[str, Any]:
    """Start a page, let visitors come, and tell what became of it; see `lamdemo soak`."""
    with tempfile.TemporaryDirectory(prefix="lamdemo-soak-") as place:
        scratch, mine = Path(place, "server"), Path(place, "visitors")
        for folder in (scratch, mine):
            folder.mkdir()
        with started(checkpoint, scratch) as (url, process):
            material = _material(url, mine, seed, say)
            tally, over = Tally(), threading.Event()
            samples, visits = [usage(process, scratch)], [usage(os.getpid(), mine)]

            def watch() -> None:
                while not over.wait(_EVERY):
                    samples.append(usage(process, scratch))
                    visits.append(usage(os.getpid(), mine))

            threading.Thread(target=watch, daemon=True).start()
            quiet = own_seconds(_log(scratch))
            until, loads = time.monotonic() + 60 * minutes, [os.getloadavg()]
            visitors = [Visitor(url, material, tally, seed * 1000 + n, mine) for n in range(clients)]
            threads = [threading.Thread(target=visitor.go_on, args=(until,)) for visitor in visitors]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            lasted = time.monotonic() - until + 60 * minutes
            time.sleep(_EVERY)  # what visitors left is put away
            over.set()
            samples.append(usage(process, scratch))
            visits.append(usage(os.getpid(), mine))
            loads.append(os.getloadavg())
            metrics = fetch(url, "/metrics")[1].decode("utf-8", "replace")
        left = sorted(p.name for p in scratch.iterdir() if p.name != "server.log")
        log = _log(scratch)
    return _report(tally, samples, lasted) | {
        # Of the visitors' own process: where these grow, it is not the server that is measured.
        "visitors": {
            key: _course([sample[key] for sample in visits]) for key in ("memory_kb", "open_files", "threads")
        },
        "own_run_seconds": own_run(quiet, own_seconds(log)[len(quiet) :]),
        "load_of_the_machine": {"before": loads[0], "after": loads[1], "cpus": os.cpu_count()},
        "left_on_disk_after_the_end": left,
        "traces_in_the_log": log.count("Traceback (most recent call last)"),
        "last_trace": log[log.rfind("Traceback (most recent call last)") :][:3000] if "Traceback" in log else "",
        "metrics": [line for line in metrics.splitlines() if line.startswith("lamdemo_jobs_total")],
    }


def _material(url: str, folder: Path, seed: int, say: Callable[[str], object]) -> Material:
    """Transfers and what a quiet server gives for them."""
    from lamdemo.ui.prepared import EXAMPLES

    clips, photos = sorted((EXAMPLES / "clips").glob("*.mp4")), sorted((EXAMPLES / "photos").glob("*.jpg"))
    chance, pairs = random.Random(seed), []
    client = _client(url, folder)
    for n in range(PAIRS):
        source, target, strength = chance.choice(clips), chance.choice(photos), chance.choice([1.0, 0.5, -1.0])
        say(f"a quiet run, {n + 1} of {PAIRS}")
        pairs.append((source, target, strength, ask(client, source, target, strength)))
    client.close()
    (folder / "harmful").mkdir()
    return Material(pairs, harmful_files(folder / "harmful", pairs[0][0]))


def _report(tally: Tally, samples: list[dict[str, int]], lasted: float) -> dict[str, Any]:
    ends: Counter[str] = Counter()
    for found in tally.ends.values():
        ends.update(found)
    latency = {
        name: {"count": len(seconds)}
        | {f"p{q}": round(float(np.percentile(seconds, q)), 2) for q in (50, 90, 95, 99, 100)}
        for name, seconds in sorted(tally.seconds.items())
    }
    return {
        "seconds": round(lasted, 1),
        "ends": dict(ends),
        "ends_by_kind": {kind: dict(found) for kind, found in sorted(tally.ends.items())},
        "transfers_a_minute": round(60 * tally.ends["transfer"]["done"] / lasted, 2),
        "latency_seconds": latency,
        "said": dict(tally.words.most_common(40)),
        "server": {key: _course([sample[key] for sample in samples]) for key in samples[0]},
    }


def _course(values: list[int]) -> dict[str, int]:
    """How a count went, over time."""
    quarter = max(len(values) // 4, 1)
    early, late = (int(np.median(part)) for part in (values[quarter : 2 * quarter] or values, values[-quarter:]))
    return {"first": values[0], "second_quarter": early, "last_quarter": late, "most": max(values), "end": values[-1]}


def own_seconds(log: str) -> list[float]:
    """Seconds of their own, without the turns of others, that the transfers of a server's log took that were done."""
    found = []
    for line in log.splitlines():
        with suppress(ValueError):  # what is no line of JSON
            told = json.loads(line)
            if isinstance(told, dict) and told.get("kind") == "program" and told.get("outcome") == "done":
                found.append(told["own_ms"] / 1000)
    return found


def own_run(quiet: list[float], busy: list[float]) -> dict[str, Any]:
    """What a transfer takes of its own, on a quiet server and beside others."""
    told: dict[str, Any] = {
        name: {"count": len(values), **{f"p{q}": round(float(np.percentile(values, q)), 2) for q in (50, 95)}}
        for name, values in (("quiet", quiet), ("with visitors", busy))
        if values
    }
    if len(told) == 2:
        told["p95 over the quiet p95"] = round(told["with visitors"]["p95"] / told["quiet"]["p95"], 2)
    return told


def good(report: dict[str, Any]) -> bool:
    """Whether nothing was lost, wrong or unclear, and nothing stayed on the disk."""
    bad = sum(report["ends"].get(end, 0) for end in ("lost", "wrong", "unclear"))
    return not bad and not report["left_on_disk_after_the_end"]


def write(report: dict[str, Any], path: Path) -> None:
    """As JSON."""
    from lamdemo.core.files import write_safely

    write_safely(path, (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())
