"""The picture of the latent space's tab for the README: ``python -m docs.make_space``.

Opens the page as a visitor would and takes a picture of it; needs Chromium and Playwright.
"""

from __future__ import annotations

import shutil
import socket
import threading
from pathlib import Path

import cv2
import numpy as np

OUT = Path(__file__).resolve().parent / "space.jpg"
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
SIZE = (1360, 1430)
STEP = 0.5  # how far along its kind's sizes the action is that is clicked


def main() -> None:
    """Take the picture."""
    from playwright.sync_api import sync_playwright

    from lamdemo.engine import bundled_checkpoints
    from lamdemo.latent_space.atlas import Atlas
    from lamdemo.ui import build_page, launch_options

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    blocks = build_page()
    blocks.launch(server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True, **launch_options())
    atlas = Atlas.read(next(iter(bundled_checkpoints().values())))
    assert atlas is not None
    rolls = np.flatnonzero(atlas.kind == atlas.kinds.index("roll"))
    step = int(rolls[atlas.size[rolls].argsort()[int(STEP * len(rolls))]])
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.set_default_timeout(120_000)
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("#lam-tabs")
        page.get_by_role("tab", name="Action space").click()
        page.wait_for_function("window.lamMap && window.lamMap.state().ready")
        page.evaluate(f"window.lamMap.select({step})")
        page.wait_for_selector("#lam-space-view video[data-lam-loop=space]")
        page.wait_for_selector("#lam-space-near-view [data-act]")
        page.mouse.move(5, 5)
        # The fifth step of eight: far enough to see, before the picture has left its frame.
        page.evaluate("document.querySelector('.lam-map-card').style.visibility = 'hidden'")
        page.evaluate("document.querySelector('#lam-space-view .lam-pause').click()")
        page.wait_for_timeout(500)
        page.evaluate("for (const v of document.querySelectorAll('#lam-space-view video')) v.currentTime = 1.25")
        page.wait_for_timeout(1500)
        data = page.screenshot()
        browser.close()
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    cv2.imwrite(str(OUT), picture, [cv2.IMWRITE_JPEG_QUALITY, 82])
    threading.Thread(target=blocks.close, daemon=True).start()


if __name__ == "__main__":
    main()
