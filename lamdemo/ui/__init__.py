"""The page: a clip on the left, a picture in the middle, the transfer on the right.

Nothing heavy is imported before it is needed: `build_page` imports Gradio, and the model is loaded, torch
with it, in the background while the page opens.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lamdemo.core.devices import AUTO, make_ready
from lamdemo.core.errors import LamdemoError
from lamdemo.ui import watch, workplace
from lamdemo.ui.models import LOOPBACK

if TYPE_CHECKING:
    import gradio as gr

__all__ = ["LOOPBACK", "build_page", "launch_options", "serve"]

GRACE = 8.0  # seconds that jobs under way get to write what they have when the page is ended


def build_page(pipeline: Any = None, device: str = AUTO) -> gr.Blocks:
    """See `lamdemo.ui.page.build_page`."""
    from lamdemo.ui.page import build_page

    return build_page(pipeline, device)


def launch_options() -> dict[str, Any]:
    """See `lamdemo.ui.page.launch_options`."""
    from lamdemo.ui.page import launch_options

    return launch_options()


def serve(
    pipeline: Any = None, *, host: str | None = None, port: int | None = None, device: str = AUTO, **options: Any
) -> None:
    """Open the page and stay until it is interrupted.

    Args:
        pipeline: see `lamdemo.ui.page.build_page`.
        host: address to listen at; by default only for this machine, or for all where ``SPACE_ID`` is set, or
            ``LAMDEMO_HOST`` or ``GRADIO_SERVER_NAME`` (to an address, or to anything else for all).
        port: by default ``GRADIO_SERVER_PORT``, or 7860.
        device: to compute on, for checkpoints that the page loads.
        options: more for Gradio's ``launch``.

    Raises:
        LamdemoError: there is no such address here, or the port is taken.
    """
    # The page must work where nothing but this machine can be reached, and no proxy leads to this machine.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "0")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    direct = [os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "", "localhost", "127.0.0.1", "::1"]
    os.environ["no_proxy"] = ",".join(filter(None, direct))
    # Gradio asks at this address whether a port is free, and not everything that can be listened at can be asked.
    named = os.environ.pop("GRADIO_SERVER_NAME", "")
    if host is None:
        host = _host(named)
    if port is None:
        port = _port(os.environ.get("GRADIO_SERVER_PORT") or "7860")
    family = _checked_address(host, port)
    if host not in LOOPBACK:
        # Tells the page, before it listens there, that its visitors are not at this machine.
        os.environ.setdefault("LAMDEMO_HOST", host)
    if os.environ.get("LAMDEMO_LOG") or host not in LOOPBACK:
        watch.write_lines()
    if threading.current_thread() is threading.main_thread():
        # Containers are stopped this way, and only an orderly end removes the temporary files.
        signal.signal(signal.SIGTERM, _end)
    name = f"[{host}]" if family == socket.AF_INET6 and ":" in host else host
    make_ready()
    with workplace.opened():
        build_page(pipeline, device).launch(server_name=name, server_port=port, **(launch_options() | options))


def _end(number: int, frame: object) -> None:
    """Take nothing new, let what is computed come to a stop with what it has, then end; at once when asked again."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    if "lamdemo.ui.guard" not in sys.modules:  # the page is not there yet
        signal.default_int_handler(number, None)
    from lamdemo.ui import guard

    def drain() -> None:
        with suppress(Exception):
            guard.drain(GRACE)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=drain, name="lamdemo-drain", daemon=True).start()


def _host(named: str) -> str:
    """The address to listen at where none is given, from the environment."""
    asked = os.environ.get("LAMDEMO_HOST", "") or ("" if named in LOOPBACK else named)
    if not asked and not os.environ.get("SPACE_ID"):
        return "127.0.0.1"
    return asked if asked.count(".") == 3 or ":" in asked else "0.0.0.0"


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise LamdemoError(f"GRADIO_SERVER_PORT is {text[:20]!r}, which is no port; give one from 1 to 65535.")
    return int(text)


def _checked_address(host: str, port: int) -> socket.AddressFamily:
    """Find out, before seconds are spent on loading, whether the page can be at an address.

    Returns:
        The family of the address.

    Raises:
        LamdemoError: there is no such address here, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except (socket.gaierror, UnicodeError) as error:
        raise LamdemoError(f"There is no host {host[:80]!r}; give an address of this machine with --host.") from error
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise LamdemoError(f"Port {port} is taken or may not be used; give another with --port.") from error
        raise LamdemoError(f"{host[:80]} is no address of this machine; give one of its own with --host.") from error
    return family
