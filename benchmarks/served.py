"""The page as ``python app.py`` opens it, and a browser to visit it with."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import ROOT, Missing, Settings
from lamdemo.ui.soak import ended

LONGEST = 300.0  # seconds that anything may take
FLAGS = ("--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-gpu")


@dataclass(frozen=True)
class Server:
    """A page that is served."""

    url: str  # its address, ending in a slash
    process: int  # its number
    seconds: dict[str, float]  # from its start until it answers with its page, and until its model is loaded


def answers(url: str) -> bool:
    """Whether a server gives what is asked for."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200 and bool(answer.read())
    except OSError:
        return False


@contextmanager
def served(
    settings: Settings, scratch: Path, command: Sequence[str] = ("app.py",), ready: Sequence[str] = ("config", "ready")
) -> Iterator[Server]:
    """A page in a process of its own, until the block ends.

    Args:
        settings: with the checkpoint, and the threads.
        scratch: for its files.
        command: of the program; ``{port}`` stands for the port.
        ready: what it must answer, one after another, before it is there.

    Raises:
        Missing: it does not start.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if k not in ("SPACE_ID", "LAMDEMO_HOST", "GRADIO_TEMP_DIR")}
    environment |= {
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(settings.threads),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "TMPDIR": str(scratch),
    }
    words = [sys.executable, *(word.replace("{port}", str(port)) for word in command)]
    words += ["--checkpoint", settings.checkpoint] if settings.checkpoint and command[0] == "app.py" else []
    begun, seconds, url = time.perf_counter(), {}, f"http://127.0.0.1:{port}/"
    with open(scratch / "server.log", "wb") as log:
        server = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        for path in ready:
            while not answers(url + path):
                if server.poll() is not None or time.perf_counter() - begun > LONGEST:
                    raise Missing("The page did not start; python app.py says why.")
                time.sleep(0.01)
            seconds[path] = time.perf_counter() - begun
        yield Server(url, server.pid, seconds)
    finally:
        ended(server)


@contextmanager
def chromium(*flags: str) -> Iterator[Callable[[], Any]]:
    """What opens headless Chromium, as often as it is asked.

    Raises:
        Missing: there is none, or no Playwright.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise Missing("There is no Chromium on this machine; install it to measure the page as a browser sees it.")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise Missing("Playwright is not installed; install it to measure the page as a browser sees it.") from error
    with sync_playwright() as playwright:
        opened: list[Any] = []

        def launch() -> Any:
            opened.append(playwright.chromium.launch(executable_path=path, args=[*(flags or FLAGS)]))
            return opened[-1]

        yield launch
        for browser in opened:
            browser.close()


def visit(browser: Any, url: str) -> Any:
    """A visitor's page of their own, on which a transfer can be asked for."""
    page = browser.new_context(viewport={"width": 1366, "height": 900}).new_page()
    page.set_default_timeout(1000 * LONGEST)
    page.goto(url)
    page.wait_for_selector("#lam-go:not([disabled])")
    return page
