"""How long one visitor waits while others plan at the paper's budget.

    python -m benchmarks.visitors [--planners 0 1 3] [--clip FILE] [--threads 2]

Opens the page as ``python app.py`` does, in headless Chromium, and prints JSON: for so many other visitors who plan all
the time, seconds until the page stands, until the tab Plan shows start and goal, until an uploaded clip is shown, until
the first frame of a transfer and until its result plays; and all that the line at the result said meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from pages import chromiums, running  # noqa: E402

from lamdemo.evaluation.report import git_state  # noqa: E402

CLIP = ROOT / "examples" / "clips"
PLAN_ALWAYS = """() => setInterval(() => {
  const go = document.querySelector('#lam-plan-go');
  if (go && !go.disabled) go.click();
}, 50)"""
LISTEN = """() => {
  window.said = [];
  const line = document.querySelector('#lam-turn-result');
  new MutationObserver(() => { const t = line.innerText.trim(); if (t && t !== said.at(-1)) said.push(t); })
    .observe(line, { childList: true, subtree: true, characterData: true });
}"""
FRAME = "() => /^(the target|step)/.test(document.querySelector('#lam-result-view .lam-tag')?.innerText ?? '')"


def visitor(browser: Any, url: str) -> Any:
    """A page of its own."""
    page = browser.new_context(viewport={"width": 1366, "height": 900}).new_page()
    page.set_default_timeout(300_000)
    page.goto(url)
    page.wait_for_selector("#lam-go:not([disabled])")
    return page


def planner(browser: Any, url: str) -> Any:
    """A visitor who plans all the time."""
    page = visitor(browser, url)
    page.get_by_role("tab", name="Plan").click()
    page.wait_for_selector("#lam-plan-ends img")
    page.evaluate(PLAN_ALWAYS)
    page.wait_for_function("() => /iteration/.test(document.querySelector('#lam-plan-tries').innerText)")
    return page


def timed(work: Callable[[], Any]) -> float:
    """Seconds that something takes."""
    began = time.perf_counter()
    work()
    return round(time.perf_counter() - began, 2)


def measure(browser: Any, url: str, clip: Path) -> dict[str, Any]:
    """One visit."""
    pages: list[Any] = []
    took: dict[str, Any] = {"page": timed(lambda: pages.append(visitor(browser, url)))}
    page = pages[0]

    def open_tab() -> None:
        page.get_by_role("tab", name="Plan").click()
        page.wait_for_selector("#lam-plan-ends img")

    def show_clip() -> None:
        before = page.evaluate("document.querySelector('#lam-source-view video')?.getAttribute('src') ?? ''")
        clear = page.locator("#lam-source-file button[aria-label='Clear']")
        if clear.count():
            clear.first.click()
        box = page.locator("#lam-source-file input[type=file]")
        box.wait_for(state="attached")
        box.set_input_files(str(clip))
        page.wait_for_function(
            "old => { const v = document.querySelector('#lam-source-view video'); "
            "return v && v.getAttribute('src') !== old; }",
            arg=before,
        )

    def first_frame() -> None:
        page.click("#lam-go")
        page.wait_for_function(FRAME)

    took["tab"] = timed(open_tab)
    page.get_by_role("tab", name="Transfer").click()
    page.evaluate(LISTEN)
    took["clip"] = timed(show_clip)
    took["first frame"] = timed(first_frame)
    took["result"] = timed(
        lambda: page.wait_for_function("() => document.querySelector('#lam-result-view video[data-lam-loop=lead]')")
    )
    took["said"] = page.evaluate("said")
    page.context.close()
    return took


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--planners", type=int, nargs="*", default=[0, 1, 3])
    parser.add_argument("--clip", type=Path, default=next(iter(sorted(CLIP.glob("*.mp4")))))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    found: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks.visitors", *sys.argv[1:]]),
        "git": git_state(),
        "load average": round(os.getloadavg()[0], 2),
    }
    with tempfile.TemporaryDirectory() as scratch, chromiums() as launch:
        threads = {"OMP_NUM_THREADS": str(arguments.threads), "PYTHONPATH": str(ROOT)}
        with running(["app.py"], Path(scratch), TMPDIR=scratch, **threads) as url:
            browser = launch("--disable-gpu")
            visitor(browser, url).context.close()  # the model is loaded, the files are at hand
            for count in arguments.planners:
                others = [planner(browser, url) for _ in range(count)]
                found[f"{count} who plan"] = measure(browser, url, arguments.clip)
                for page in others:
                    page.context.close()
    print(json.dumps(found, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
