"""How soon the action space's tab answers in a browser: python -m benchmarks.space [--runs 5].

Opens the page with the bundled checkpoint in headless Chromium, whose WebGL the processor computes, and prints JSON:
seconds from opening the tab to its map, from a click on a point to the first step on show and to the loop of eight, and
from a key of Steer to its picture.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import time
from typing import Any

import numpy as np

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
LOOP = "document.querySelector('#lam-space-view video[data-lam-loop=space]')?.getAttribute('src') ?? ''"
TAG = "document.querySelector('#lam-space-view .lam-tag')?.innerText ?? ''"


def measure(runs: int) -> dict[str, Any]:
    """Seconds, each of ``runs`` times."""
    from playwright.sync_api import sync_playwright

    from lamdemo.engine import bundled_checkpoints
    from lamdemo.evaluation.report import git_state
    from lamdemo.latent_space.atlas import Atlas
    from lamdemo.ui import build_page, launch_options

    atlas = Atlas.read(bundled_checkpoints()["noisy"])
    assert atlas is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    blocks = build_page()
    blocks.launch(server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True, **launch_options())
    took: dict[str, list[float]] = {"click to first step": [], "click to loop": [], "key to picture": []}
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1360, "height": 1000})
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("#lam-tabs")
        time.sleep(6)  # the model is loaded in the background
        begun = time.perf_counter()
        page.get_by_role("tab", name="Action space").click()
        page.wait_for_function("window.lamMap && window.lamMap.state().ready")
        there = time.perf_counter() - begun
        for index in np.linspace(100, len(atlas) - 100, runs).astype(int):
            time.sleep(2)
            old = page.evaluate(LOOP)
            begun = time.perf_counter()
            page.evaluate(f"window.lamMap.select({index})")
            page.wait_for_function(f"/^step/.test({TAG})", polling=10)
            took["click to first step"].append(time.perf_counter() - begun)
            page.wait_for_function(f"old => ({LOOP}) && ({LOOP}) !== old", arg=old, polling=10)
            took["click to loop"].append(time.perf_counter() - begun)
        page.get_by_role("tab", name="Steer", exact=True).click()
        page.click("#lam-play-start")
        page.wait_for_selector("#lam-play-view img")
        page.locator("#lam-play-pad button").first.focus()
        for count in range(1, runs + 1):
            begun = time.perf_counter()
            page.keyboard.press("ArrowLeft")
            words = f"after {count} step{'s' if count > 1 else ''}"
            page.wait_for_function(
                f"document.querySelector('#lam-play-view .lam-tag').innerText === '{words}'", polling=5
            )
            took["key to picture"].append(time.perf_counter() - begun)
        browser.close()
    return {
        "command": f"python -m benchmarks.space --runs {runs}",
        "git": git_state(),
        "checkpoint": atlas.checkpoint,
        "points": len(atlas),
        "load average": round(os.getloadavg()[0], 2),
        "seconds": {"tab to map": round(there, 2)}
        | {name: {"median": round(float(np.median(v)), 2), "most": round(max(v), 2)} for name, v in took.items()},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    print(json.dumps(measure(parser.parse_args().runs), indent=2), flush=True)
    os._exit(0)  # Gradio's server thread would stay


if __name__ == "__main__":
    main()
