"""What strangers' files do to the page's readers.

    python -m benchmarks.hostile [--cases 2000] [--seed 0] [--only KIND] [--out FILE]

Makes the files of ``tests/hostile_files.py`` one after another and reads each as the page does: as a source and as a
target, as latents, as a shared link. Each must give a result or one sentence, within its time, and leave nothing
behind: no file, no process, no request to a service that listens on this machine, no path in a sentence. Prints what
did not, and writes counts, times and memory as JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import resource
import shlex
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from hostile_files import Case, all_cases  # noqa: E402

from lamdemo.core.errors import LamdemoError  # noqa: E402
from lamdemo.core.latent_actions import LatentActions  # noqa: E402
from lamdemo.evaluation.report import git_state  # noqa: E402
from lamdemo.latent_space.composition import Composition  # noqa: E402
from lamdemo.ui.inputs import LIMITS, look_at_source, look_at_target, read_target  # noqa: E402

GRACE = 2.0  # seconds beyond the deadline


class NoModel:
    """What `look_at_source` needs of a pipeline, without a model: its time is not what is measured."""

    fps, checkpoint = 4.0, ""

    def infer(self, frames: np.ndarray, refinement: int = 0) -> LatentActions:
        """Nothing happens."""
        return LatentActions(np.zeros((len(frames) - 1, 16), np.float32), self.fps)

    def out_of_distribution(self, _: LatentActions) -> None:
        """Nothing is known of that."""


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """A service on this machine: its address, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", asked
        server.shutdown()


def read(case: Case, path: Path, out: Path) -> list[str]:
    """What each of the page's readers of such a file said: "" for a result."""
    if case.reader == "latents":
        readers = [lambda: Composition.load(path)]
    elif case.reader == "link":
        text = path.read_bytes().decode("utf-8", "replace")
        readers = [lambda: Composition.decode(text, channels=16)]
    else:
        pipeline: Any = NoModel()
        readers = [
            lambda: look_at_source(pipeline, str(path), 0.0, out),
            lambda: look_at_target(str(path), 0.4, out),
            lambda: read_target(str(path), 0.4, 4.0),
        ]
    said = []
    for reader in readers:
        try:
            reader()
            said.append("")
        except LamdemoError as error:
            said.append(str(error))
    return said


def faults(case: Case, said: list[str], seconds: float, folder: Path) -> list[str]:
    """What is wrong with how a case ended, beside what it left."""
    found = []
    if seconds > len(said) * (2 * LIMITS.timeout + GRACE):
        found.append(f"took {seconds:.0f} s")
    for text in filter(None, said):
        if re.search(r"[\x00-\x1f\x7f]", text) or not text.endswith((".", "!")) or len(text) > 400:
            found.append(f"not one sentence: {text[:200]!r}")
        if str(folder) in text or "/tmp" in text or "Traceback" in text:
            found.append(f"a path: {text[:200]!r}")
    if case.reads is True and all(said):
        found.append(f"refused: {said[0]}")
    if case.reads is False and not all(said):
        found.append("read, where it must be refused")
    return found


def resident() -> int:
    """Memory of this process, in kB."""
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))


def children() -> int:
    """Processes that this one started and that are there still."""
    return len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def run(cases: list[Case], work: Path, asked: list[str]) -> dict[str, Any]:
    """Go through cases; gives what is to be reported."""
    kinds: Counter[str] = Counter()
    wrong: list[dict[str, Any]] = []
    times: list[tuple[float, str]] = []
    memory = []
    temporary = Path(tempfile.gettempdir())
    for n, case in enumerate(cases):
        folder, out = work / "in", work / "out"
        for place in (folder, out):
            place.mkdir()
        path, before = folder / case.name, set(os.listdir(temporary))
        case.make(path)
        began, problems = time.monotonic(), []
        try:
            said = read(case, path, out)
            seconds = time.monotonic() - began
            problems = faults(case, said, seconds, work)
            kinds["read" if not all(said) else "refused"] += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            seconds = time.monotonic() - began
            problems.append(f"{type(error).__name__}: {str(error)[:200]}")
            kinds["crashed"] += 1
        left = [set(os.listdir(folder)) - {case.name}, set(os.listdir(temporary)) - before]
        left.append({name for name in os.listdir(out) if name not in ("filmstrip.jpg", "clip.mp4", "target.jpg")})
        if any(left):
            problems.append(f"left {sorted(map(ascii, set().union(*left)))[:5]}")
        if children():
            problems.append("left a process")
        if problems:
            wrong.append({"kind": case.kind, "name": ascii(case.name), "problems": problems})
            print(case.kind, ascii(case.name), *problems, sep="\n    ", flush=True)
        times.append((seconds, f"{case.kind}, {ascii(case.name)[:80]}"))
        for place in (folder, out):
            shutil.rmtree(place)
        if n % 100 == 0:
            gc.collect()
            memory.append(resident())
            print(f"{n} of {len(cases)}, {memory[-1] // 1000} MB", file=sys.stderr, flush=True)
    if asked:
        wrong.append({"kind": "request", "name": "", "problems": asked[:10]})
    seconds_each = np.array([seconds for seconds, _ in times])
    return {
        "cases": len(cases),
        "by_kind": dict(sorted(Counter(case.kind for case in cases).items())),
        "outcomes": dict(kinds),
        "wrong": wrong,
        "requests_to_this_machine": len(asked),
        "seconds": {f"p{q}": round(float(np.percentile(seconds_each, q)), 3) for q in (50, 95, 99, 100)},
        "slowest": [{"seconds": round(s, 2), "case": name} for s, name in sorted(times, reverse=True)[:10]],
        "memory_kb": {
            "every_100_cases": memory,
            "last_less_second": memory[-1] - memory[min(1, len(memory) - 1)],
            # Of the processes that decode, and of those that made the files here.
            "largest_child": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
        },
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path)
    asked_for = parser.parse_args()
    code = git_state()
    with tempfile.TemporaryDirectory(prefix="hostile-") as place, listening() as (address, asked):
        base = Path(place)
        for name in ("seeds", "work", "tmp"):
            (base / name).mkdir()
        tempfile.tempdir = os.environ["TMPDIR"] = str(base / "tmp")
        cases = all_cases(base / "seeds", asked_for.cases, asked_for.seed, address)
        cases = [case for case in cases if asked_for.only in case.kind]
        began = time.monotonic()
        report = run(cases, base / "work", asked)
        tempfile.tempdir = None
    report = {
        "command": shlex.join(["python", "-m", "benchmarks.hostile", *sys.argv[1:]]),
        "seed": asked_for.seed,
        "git": code,
        "machine": {"cpus": os.cpu_count(), "load": os.getloadavg()},
        "seconds_in_all": round(time.monotonic() - began, 1),
        **report,
    }
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    if asked_for.out:
        asked_for.out.write_text(text, encoding="utf-8")
    print(json.dumps({k: report[k] for k in ("cases", "outcomes", "seconds", "seconds_in_all")}), len(report["wrong"]))
    sys.exit(bool(report["wrong"]))


if __name__ == "__main__":
    main()
