"""The picture of the tabs Drive and Plan for the README: ``python -m docs.make_control``.

Opens the page as a visitor would, drives a few steps in a simulator's scene, plans to the goal of a task, and puts both
pictures beside each other; needs Chromium, Playwright and ViZDoom.
"""

from __future__ import annotations

import shutil
import socket
import threading
from pathlib import Path

import cv2
import numpy as np

OUT = Path(__file__).resolve().parent / "control.jpg"
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
SIZE = (1180, 1180)
DRIVE, TASK = 10005, 10003  # scenes of the validation part
KEYS = ("ArrowUp", "ArrowUp", "ArrowRight", "ArrowRight", "ArrowUp")


def main() -> None:
    """Take the picture."""
    from playwright.sync_api import sync_playwright

    from lamdemo.ui import build_page, launch_options

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    blocks = build_page()
    blocks.launch(server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True, **launch_options())
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    taken = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.set_default_timeout(240_000)
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("#lam-tabs")

        page.get_by_role("tab", name="Drive").click()
        page.locator("#lam-drive-controller input").click()
        page.get_by_role("option", name="Doom").click()
        page.locator("#lam-drive-seed input").fill(str(DRIVE))
        page.locator("#lam-drive-scene").click()
        page.wait_for_selector("#lam-drive-view img")
        page.wait_for_timeout(4000)
        for count, key in enumerate(KEYS, 1):
            page.keyboard.press(key)
            page.wait_for_function(
                f"document.querySelectorAll('#lam-drive-view .lam-drive-strip li').length >= {count + 1}"
            )
        page.wait_for_timeout(1500)
        taken.append(page.screenshot())

        page.get_by_role("tab", name="Plan").click()
        page.get_by_label("of a simulator").check()
        page.locator("#lam-plan-task input").fill(str(TASK))
        page.locator("#lam-plan-task input").press("Enter")
        page.wait_for_timeout(6000)
        page.click("#lam-plan-go")
        page.wait_for_selector("#lam-plan-actions tbody tr")
        page.wait_for_selector("#lam-plan-energy .main-svg")
        page.wait_for_timeout(3000)
        taken.append(page.screenshot())
        browser.close()
    pictures = [cv2.imdecode(np.frombuffer(t, np.uint8), cv2.IMREAD_COLOR) for t in taken]
    both = np.concatenate([pictures[0], np.full_like(pictures[0][:, :24], 255), pictures[1]], 1)
    cv2.imwrite(str(OUT), cv2.resize(both, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA), [1, 84])
    threading.Thread(target=blocks.close, daemon=True).start()


if __name__ == "__main__":
    main()
