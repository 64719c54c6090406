"""The page: a clip on the left, a picture in the middle, the transfer on the right.

Nothing heavy is imported before it is needed: `build_page` imports Gradio, and the model is loaded, torch
with it, in the background while the page opens.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gradio as gr

__all__ = ["build_page", "launch_options", "serve"]


def build_page(pipeline: Any = None) -> gr.Blocks:
    """See `lamdemo.ui.page.build_page`."""
    from lamdemo.ui.page import build_page

    return build_page(pipeline)


def launch_options() -> dict[str, Any]:
    """See `lamdemo.ui.page.launch_options`."""
    from lamdemo.ui.page import launch_options

    return launch_options()


def serve(pipeline: Any = None, *, host: str | None = None, port: int | None = None, **options: Any) -> None:
    """Open the page and stay until it is interrupted.

    Args:
        pipeline: see `lamdemo.ui.page.build_page`.
        host: address to listen at; by default only for this machine, or for all where ``SPACE_ID`` is set, or
            ``LAMDEMO_HOST`` (to an address, or to anything else for all).
        port: by default ``GRADIO_SERVER_PORT``, or 7860.
        options: more for Gradio's ``launch``.
    """
    # The page must work where nothing but this machine can be reached.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "0")
    asked = os.environ.get("LAMDEMO_HOST", "")
    if host is None:
        host = "127.0.0.1"
        if asked or os.environ.get("SPACE_ID"):
            host = asked if asked.count(".") == 3 or ":" in asked else "0.0.0.0"
    if port is None:
        port = int(os.environ.get("GRADIO_SERVER_PORT") or 7860)
    if threading.current_thread() is threading.main_thread():
        # Containers are stopped this way, and only an orderly end removes the temporary files.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    build_page(pipeline).launch(server_name=host, server_port=port, **(launch_options() | options))
