"""Pictures of the page: ``python docs/make_screens.py --out FOLDER`` takes one of each tab, light, dark and on a phone.

Two of them, ``page.jpg`` and ``page-phone.jpg``, stand in the README: ``--readme`` takes these alone, into ``docs``.
Needs Chromium and Playwright.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, Python looks beside this file only

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
TABS = {"Transfer": "page", "Action space": "space", "Drive": "drive", "Plan": "plan"}
LOOKS: dict[str, dict[str, Any]] = {
    "": {"viewport": {"width": 1366, "height": 768}},
    "-dark": {"viewport": {"width": 1366, "height": 768}, "color_scheme": "dark"},
    "-phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}
README = (("Transfer", ""), ("Transfer", "-phone"))


@contextmanager
def opened() -> Iterator[str]:
    """The page as ``python app.py`` serves it, at the address that comes."""
    from lamdemo.ui import build_page, launch_options

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    blocks = build_page()
    blocks.launch(server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True, **launch_options())
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        blocks.close()


def take(page: Any, address: str, tab: str) -> np.ndarray:
    """A picture of a tab's first screen, uint8 ``[H, W, 3]``, BGR."""
    page.goto(address)
    page.wait_for_selector("#lam-go:not([disabled])")
    page.get_by_role("tab", name=tab).click()
    page.wait_for_timeout(12_000 if tab != "Transfer" else 5_000)  # videos and maps say nothing when they are there
    return cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)


def main() -> None:
    """The command."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, help="folder for all of them")
    where.add_argument("--readme", action="store_true", help="the README's two, into docs")
    arguments = parser.parse_args()
    folder = ROOT / "docs" if arguments.readme else arguments.out
    wanted = README if arguments.readme else [(tab, look) for tab in TABS for look in LOOKS]
    folder.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with opened() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for tab, look in wanted:
            context = browser.new_context(**LOOKS[look])
            page = context.new_page()
            page.set_default_timeout(180_000)
            path = folder / f"{TABS[tab]}{look}.jpg"
            cv2.imwrite(str(path), take(page, address, tab), [cv2.IMWRITE_JPEG_QUALITY, 84])
            print(path.name)
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
