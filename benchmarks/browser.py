"""What a browser shows: the map of an atlas, the tab Action space, and a visitor among others who plan.

All in headless Chromium, whose WebGL the processor computes.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import CLIP, ROOT, Settings, entry, spread
from benchmarks.planning import WITH_ALL
from benchmarks.served import chromium, served, visit
from lamdemo.engine import resolve_checkpoint
from lamdemo.latent_space.atlas import Atlas

POINTS, PLANNERS = 20_000, (0, 1, 3)
_WEBGL = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
_FRAMES = """
async (move) => {
  const times = [];
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  let last = await frame();
  for (let k = 0; k < 90; k++) {
    move === 'zoom' ? lamMap.zoom(k < 45 ? 1.03 : 1 / 1.03) : lamMap.pan(k < 45 ? 4 : -4, 1);
    const now = await frame();
    times.push((now - last) / 1000);
    last = now;
  }
  return times;
}
"""
_LOOP = "document.querySelector('#lam-space-view video[data-lam-loop=space]')?.getAttribute('src') ?? ''"
_SPACE_TAG = "document.querySelector('#lam-space-view .lam-tag')?.innerText ?? ''"
_PLAN_ALWAYS = """() => setInterval(() => {
  const go = document.querySelector('#lam-plan-go');
  if (go && !go.disabled) go.click();
}, 50)"""
_FRAME = "() => /^(the target|step)/.test(document.querySelector('#lam-result-view .lam-tag')?.innerText ?? '')"


def _since(begun: float) -> float:
    return time.perf_counter() - begun


def _entries(took: dict[str, list[float]]) -> dict[str, Any]:
    return {name: entry(spread(seconds)) for name, seconds in took.items() if seconds}


# The map alone.


def map(settings: Settings) -> dict[str, Any]:
    """The map of a made-up atlas: how soon it stands, in a fresh browser each time, and how smoothly it moves."""
    took: dict[str, list[float]] = {}

    def add(name: str, *seconds: float) -> None:
        took.setdefault(name, []).extend(seconds)

    with tempfile.TemporaryDirectory(prefix="lamdemo-") as scratch, chromium() as launch:
        command = str(ROOT / "tests" / "map_page.py"), "{port}", str(POINTS), scratch
        with served(settings, Path(scratch), command, ("config",)) as server:
            for _ in range(settings.repeats):
                for dims in (2, 3):
                    browser = launch()
                    page = browser.new_page(viewport={"width": 1280, "height": 900})
                    page.goto(server.url)
                    page.get_by_role("tab", name="Map").click()
                    page.wait_for_selector(".lam-map[data-state=ready]", timeout=120_000)
                    if dims == 2:
                        for name, key in (("points sketched", "first"), ("drawn by Plotly", "ms")):
                            add(f"tab to {name}", int(page.get_attribute(".lam-map", f"data-{key}")) / 1000)
                    else:
                        page.evaluate("lamMap.set({ dims: 3 })")
                        page.evaluate("lamMap.settled()")
                    for move in ("zoom", "pan"):
                        add(f"a frame of a {move}, {dims}D", *page.evaluate(_FRAMES, move))
                    page.evaluate("lamMap.reset()")
                    page.evaluate("lamMap.settled()")
                    begun = time.perf_counter()
                    page.evaluate("lamMap.select(7)")
                    page.wait_for_function("document.querySelector('#last textarea, #last input').value.includes('7')")
                    add(f"click to Python and back, {dims}D", _since(begun))
                    browser.close()
    return {**_entries(took), "points": POINTS}


# The tab Action space.


def space(settings: Settings) -> dict[str, Any]:
    """The tab's map, a step and the loop of a point that is clicked, and the picture of a key of Steer."""
    atlas = Atlas.read(resolve_checkpoint(settings.checkpoint))
    took: dict[str, list[float]] = {"tab to map": [], "click to first step": [], "click to loop": []}
    took["key to picture"] = []
    with tempfile.TemporaryDirectory(prefix="lamdemo-") as scratch, chromium(*_WEBGL) as launch:
        with served(settings, Path(scratch)) as server:
            page = visit(launch(), server.url)
            begun = time.perf_counter()
            page.get_by_role("tab", name="Action space").click()
            page.wait_for_function("window.lamMap && window.lamMap.state().ready")
            took["tab to map"].append(_since(begun))
            points = 0 if atlas is None else len(atlas)
            for index in np.linspace(points // 40, points - points // 40 - 1, settings.repeats).astype(int):
                time.sleep(2)  # what was clicked before is over
                old, begun = page.evaluate(_LOOP), time.perf_counter()
                page.evaluate(f"window.lamMap.select({index})")
                page.wait_for_function(f"/^step/.test({_SPACE_TAG})", polling=10)
                took["click to first step"].append(_since(begun))
                page.wait_for_function(f"old => ({_LOOP}) && ({_LOOP}) !== old", arg=old, polling=10)
                took["click to loop"].append(_since(begun))
            page.get_by_role("tab", name="Steer", exact=True).click()
            page.click("#lam-play-start")
            page.wait_for_selector("#lam-play-view img")
            page.locator("#lam-play-pad button").first.focus()
            for count in range(1, settings.repeats + 1):
                begun = time.perf_counter()
                page.keyboard.press("ArrowLeft")
                words = f"after {count} step{'s' if count > 1 else ''}"
                page.wait_for_function(
                    f"document.querySelector('#lam-play-view .lam-tag').innerText === '{words}'", polling=5
                )
                took["key to picture"].append(_since(begun))
    return {**_entries(took), "points": points}


# One visitor among others.


def visitors(settings: Settings) -> dict[str, Any]:
    """How long a visitor waits while others plan all the time at the paper's budget."""
    if settings.checkpoint is None:
        settings = dataclasses.replace(settings, checkpoint=WITH_ALL)
    took: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="lamdemo-") as scratch, chromium() as launch:
        with served(settings, Path(scratch)) as server:
            browser = launch()
            visit(browser, server.url).context.close()  # the model is loaded, the files are at hand
            for count in PLANNERS:
                others = [_planner(browser, server.url) for _ in range(count)]
                for _ in range(settings.repeats):
                    for name, seconds in _visited(browser, server.url).items():
                        took.setdefault(f"{name}, {count} plan", []).append(seconds)
                for page in others:
                    page.context.close()
    return _entries(took)


def _planner(browser: Any, url: str) -> Any:
    """A visitor who plans all the time."""
    page = visit(browser, url)
    page.get_by_role("tab", name="Plan").click()
    page.wait_for_selector("#lam-plan-ends img")
    page.evaluate(_PLAN_ALWAYS)
    page.wait_for_function("() => /iteration/.test(document.querySelector('#lam-plan-tries').innerText)")
    return page


def _visited(browser: Any, url: str) -> dict[str, float]:
    """Seconds of one visit: the page, another tab, an uploaded clip, the first frame and the result."""
    took, begun = {}, time.perf_counter()
    page = visit(browser, url)
    took["page"], begun = _since(begun), time.perf_counter()
    page.get_by_role("tab", name="Plan").click()
    page.wait_for_selector("#lam-plan-ends img")
    took["tab"] = _since(begun)
    page.get_by_role("tab", name="Transfer").click()
    source = "document.querySelector('#lam-source-view video')"
    before, begun = page.evaluate(f"{source}?.getAttribute('src') ?? ''"), time.perf_counter()
    page.locator("#lam-source .lam-own input[type=file]").set_input_files(str(CLIP))
    page.wait_for_function(f"old => {{ const v = {source}; return v && v.getAttribute('src') !== old; }}", arg=before)
    took["uploaded clip"], begun = _since(begun), time.perf_counter()
    page.click("#lam-go")
    page.wait_for_function(_FRAME)
    took["first frame"] = _since(begun)
    page.wait_for_function("() => document.querySelector('#lam-result-view video[data-lam-loop=lead]')")
    took["result"] = _since(begun)
    page.context.close()
    return took
