"""The page: its start, a transfer from the click to the loop, and its memory while it makes many."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import CLIP, PHOTO, Missing, Settings, entry, rounded, spread, status_of
from benchmarks.served import chromium, served, visit

_TAG = "(document.querySelector('#lam-result-view .lam-tag')?.innerText ?? '')"
_FIRST = rf"() => /^step|steps? made/.test({_TAG})"
_LAST = rf"() => /^step (\d+) of \1$|steps? made/.test({_TAG})"
_LEAD = "(document.querySelector('#lam-result-view video[data-lam-loop=lead]')?.getAttribute('src') ?? '')"
# Playing: the loop's own first frame is decoded, and it moves.
_LOOP = f"old => {_LEAD} && {_LEAD} !== old && " + (
    "document.querySelector('#lam-result-view video[data-lam-loop=lead]').readyState >= 2"
)


def start(settings: Settings) -> dict[str, Any]:
    """``python app.py`` until it answers with the page and its configuration, and until its model is there."""
    seconds: list[dict[str, float]] = []
    idle: list[float] = []
    for _ in range(settings.repeats):
        with tempfile.TemporaryDirectory(prefix="lamdemo-") as scratch, served(settings, Path(scratch)) as server:
            seconds.append(server.seconds)
            idle += [found for found in [status_of(server.process, "VmRSS")] if found is not None]
    told: dict[str, Any] = {
        "start to usable page": entry(spread([one["config"] for one in seconds])),
        "start to loaded model": entry(spread([one["ready"] for one in seconds])),
    }
    return told | ({"the server, idle, MB": spread(idle)} if idle else {})


def _clicked(page: Any) -> dict[str, float]:
    """Seconds from a click on Transfer to what is seen of it."""
    old, begun, at = page.evaluate(_LEAD), time.perf_counter(), {}
    page.click("#lam-go")
    page.wait_for_function(_FIRST, polling=10)
    at["first frame"] = time.perf_counter() - begun
    page.wait_for_function(_LAST, polling=10)
    at["last frame"] = time.perf_counter() - begun
    page.wait_for_function(_LOOP, arg=old, polling=10)
    at["playing loop"] = time.perf_counter() - begun
    return at


def page(settings: Settings) -> dict[str, Any]:
    """The first example in a browser; without one, the same as a program asks for it."""
    with tempfile.TemporaryDirectory(prefix="lamdemo-") as scratch, served(settings, Path(scratch)) as server:
        try:
            with chromium() as launch:
                browser, runs, opening = launch(), [], []
                for _ in range(settings.repeats + 1):
                    begun = time.perf_counter()
                    visitor = visit(browser, server.url)
                    opening.append(time.perf_counter() - begun)
                    runs.append(_clicked(visitor))
                    visitor.context.close()
        except Missing as missing:
            asked = [_by_program(server.url, 1) for _ in range(settings.repeats + 1)][1:]
            told: dict[str, Any] = {"a transfer, asked by a program": entry(spread(asked)), "left out": str(missing)}
        else:
            told = {"opening the page": entry(spread(opening[1:]))}
            for moment in runs[0]:
                told[f"click to {moment}, the first after the start"] = entry(spread([runs[0][moment]]))
                told[f"click to {moment}"] = entry(spread([run[moment] for run in runs[1:]]))
        return told | {"server": _memory(server.process)}


def _memory(process: int) -> dict[str, float | None]:
    keys = {"peak MB": "VmHWM", "resting MB": "VmRSS"}
    found = {name: status_of(process, key) for name, key in keys.items()}
    return {name: None if value is None else rounded(value) for name, value in found.items()}


def _by_program(url: str, repeat: int) -> float:
    """Seconds of a transfer through `gradio_client`, by a session of its own."""
    from gradio_client import Client, handle_file

    with tempfile.TemporaryDirectory(prefix="lamdemo-") as folder:
        client = Client(url, verbose=False, download_files=folder, analytics_enabled=False)
        begun = time.perf_counter()
        client.predict(handle_file(str(CLIP)), handle_file(str(PHOTO)), 1.0, False, repeat, api_name="/transfer")
        seconds = time.perf_counter() - begun
        client.close()
    return seconds


def page_memory(settings: Settings) -> dict[str, Any]:
    """The server's memory after each of many transfers of 64 steps, the longest that are made."""
    with tempfile.TemporaryDirectory(prefix="lamdemo-") as scratch, served(settings, Path(scratch)) as server:
        if status_of(server.process, "VmRSS") is None:
            raise Missing("This system does not tell the memory of another process; measure it on Linux.")
        course, seconds = [status_of(server.process, "VmRSS") or 0.0], []
        for _ in range(settings.transfers):
            seconds.append(_by_program(server.url, 4))
            course.append(status_of(server.process, "VmRSS") or 0.0)
        told = {"a transfer of 64 steps, asked by a program": entry(spread(seconds)), "server": _memory(server.process)}
    late = course[1 + len(course) // 5 :]
    slope = float(np.polyfit(np.arange(len(late)), late, 1)[0]) if len(late) > 1 else 0.0
    return told | {
        "MB, idle and after each transfer": [round(value) for value in course],
        "MB more with each transfer, over the last four fifths": rounded(slope),
    }
