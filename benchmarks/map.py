"""How soon the map stands in a browser, and how smoothly it moves.

    python -m benchmarks.map [--points 20000] [--runs 5] [--chromium PATH]

Opens the map of a made-up atlas in headless Chromium, whose WebGL the processor computes, and prints JSON: milliseconds
from the moment the element is seen until its points are sketched and until Plotly has drawn them (a fresh browser each
time, so that plotly.js is fetched and compiled), milliseconds between frames while it is zoomed and moved, and between
a click and its event in Python.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from lamdemo.evaluation.report import git_state

ROOT = Path(__file__).resolve().parents[1]
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
_THERE = {"first": "ms until the points are sketched", "there": "ms until Plotly has drawn them"}
FRAMES = """
async (move) => {
  const times = [];
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  let last = await frame();
  for (let k = 0; k < 90; k++) {
    move === 'zoom' ? lamMap.zoom(k < 45 ? 1.03 : 1 / 1.03) : lamMap.pan(k < 45 ? 4 : -4, 1);
    const now = await frame();
    times.push(now - last);
    last = now;
  }
  return times;
}
"""


def spread(times: list[float]) -> dict[str, float]:
    """Median and 95th percentile."""
    return {"median": round(float(np.median(times)), 1), "95%": round(float(np.percentile(times, 95)), 1)}


def measure(browser: Any, url: str, three: bool) -> dict[str, Any]:
    """One visit by a fresh browser."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(url)
    page.get_by_role("tab", name="Map").click()
    page.wait_for_selector(".lam-map[data-state=ready]", timeout=120_000)
    first, there = (int(page.get_attribute(".lam-map", f"data-{key}")) for key in ("first", "ms"))
    renderer = page.get_attribute(".lam-map", "data-renderer")
    if three:
        page.evaluate("lamMap.set({ dims: 3 })")
        page.evaluate("lamMap.settled()")
    found = {
        "first": first,
        "there": there,
        "renderer": renderer,
        **{m: page.evaluate(FRAMES, m) for m in ("zoom", "pan")},
    }
    page.evaluate("lamMap.reset()")
    page.evaluate("lamMap.settled()")
    before = time.perf_counter()
    page.evaluate("lamMap.select(7)")
    page.wait_for_function("document.querySelector('#last textarea, #last input').value.includes('7')")
    return {**found, "click": 1000 * (time.perf_counter() - before)}


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=20000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    with tempfile.TemporaryDirectory(prefix="lamdemo-") as folder:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
            "GRADIO_ANALYTICS_ENABLED": "0",
        }
        server = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "map_page.py"), str(port), str(arguments.points), folder],
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        try:
            for _ in range(300):
                try:
                    urllib.request.urlopen(url, timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.2)
            result: dict[str, Any] = {"points": arguments.points}
            with sync_playwright() as playwright:
                for name, three in (("2D", False), ("3D", True)):
                    visits = []
                    for _ in range(arguments.runs):
                        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=FLAGS)
                        visits.append(measure(browser, url, three))
                        browser.close()
                    result[name] = {
                        "renderer": visits[0]["renderer"],
                        **({} if three else {word: spread([v[k] for v in visits]) for k, word in _THERE.items()}),
                        **{f"ms a frame, {m}": spread([t for v in visits for t in v[m]]) for m in ("zoom", "pan")},
                        "ms from click to Python and back": spread([v["click"] for v in visits]),
                    }
        finally:
            server.terminate()
            server.wait(60)
    told = {
        "command": shlex.join(["python", "-m", "benchmarks.map", *sys.argv[1:]]),
        "git": git_state(),
        "data": "tests/atlas_files.py, synthetic_atlas, seed 0",
        "load average": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(told | result, indent=2))


if __name__ == "__main__":
    main()
