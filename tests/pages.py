"""The page as ``python app.py`` opens it, and a browser to visit it with."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lamdemo.ui.soak import ended

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync"
).split()
WAIT = 180_000  # milliseconds, for what takes a hundredth of that on an idle machine


def without_browser(reason: str) -> None:
    """Skip, or fail where the tests of the page must run."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def chromiums() -> Iterator[Callable[..., Any]]:
    """What opens headless Chromium with further flags, as often as it is asked."""
    if CHROMIUM is None:
        without_browser("There is no Chromium on this machine; install the package chromium to test the page.")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        without_browser("Playwright is not installed; install it to test the page.")
    with sync_playwright() as playwright:
        opened = []

        def launch(*flags: str) -> Any:
            opened.append(playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags]))
            return opened[-1]

        yield launch
        for browser in opened:
            browser.close()


_TRACE = r"[^\n]*Traceback \(most recent call last\):\n(?:[ |+][^\n]*\n|\n)*(?:[^ \n][^\n]*\n)"
_FAULT = re.compile(rf"ERROR:\s+Exception in ASGI application\n{_TRACE}(?:\n(?:During|The above)[^\n]*\n\n{_TRACE})*")
# A stream whose visitor has left: it finds no session, or forgets one that was forgotten already.
_LEFT = ("404: Not Found", "del blocks._queue.pending_messages_per_session")


def troubles(scratch: Path) -> str:
    """A server's log without what Gradio itself says where a page leaves or reloads while its events are under way."""
    log = (scratch / "server.log").read_text()
    return _FAULT.sub(lambda m: "" if "in sse_stream" in m[0] and any(words in m[0] for words in _LEFT) else m[0], log)


def violations(page: Any) -> list[str]:
    """What axe-core finds against WCAG 2.1 AA in what is to be seen of a page: rule, place and why."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})
    return [
        f"{rule['id']}: {node['html'][:120]}: {node['failureSummary']}"
        for rule in found.response["violations"]
        for node in rule["nodes"]
    ]


def toast(page: Any) -> str:
    """The words of the message on the page, which is then put away; it may have gone by itself meanwhile."""
    words = page.wait_for_function("document.querySelector('.toast-body')?.innerText").json_value()
    page.evaluate("document.querySelectorAll('.toast-close').forEach(button => button.click())")
    page.wait_for_selector(".toast-body", state="detached")
    return str(words)


@contextmanager
def running(command: Sequence[str], scratch: Path, **environment: str) -> Iterator[str]:
    """A page served by a Python program, at the address that comes.

    Args:
        command: of the program; ``{port}`` stands for the port.
        scratch: for its temporary files and its log, ``server.log``.
        environment: more of it.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    whole = {k: v for k, v in os.environ.items() if k not in ("SPACE_ID", "LAMDEMO_HOST")} | {
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(scratch / "uploads"),
        "GRADIO_ANALYTICS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        **environment,
    }
    url = f"http://127.0.0.1:{port}/"
    with open(scratch / "server.log", "w+") as log:
        server = subprocess.Popen(
            [sys.executable, *(word.replace("{port}", str(port)) for word in command)],
            cwd=ROOT,
            env=whole,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(url, timeout=5).close()
                    break
                except OSError:
                    assert server.poll() is None, (scratch / "server.log").read_text()
                    time.sleep(0.2)
            yield url
        finally:
            ended(server)


@contextmanager
def served(bundled: Path, scratch: Path) -> Iterator[str]:
    """The page as ``python app.py`` opens it, with the checkpoints of a folder.

    At the end it must have removed its temporary files, which are in ``scratch``.
    """
    with running(["app.py"], scratch, LAMDEMO_CHECKPOINTS=str(bundled), TMPDIR=str(scratch)) as url:
        yield url
    assert not list(scratch.glob("lamdemo-*")), "the server left its temporary files"
