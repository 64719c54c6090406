"""What stands before Gradio: how much a request may bring and how long it may take, and what is not served at all.

Besides it answers who watches the server: ``/health`` (it runs), ``/ready`` (it can compute, and is not full) and
``/metrics`` (in Prometheus' words, where ``prometheus-client`` is installed).
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
import weakref
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio import processing_utils, route_utils
from gradio.utils import get_upload_folder
from python_multipart.exceptions import MultipartParseError
from starlette.requests import ClientDisconnect

from lamdemo.ui import models, watch, workplace

if TYPE_CHECKING:
    from lamdemo.ui.page import Page

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]

MOST_FILE = 500_000_000  # bytes of one file
_MOST_UPLOAD = MOST_FILE + (1 << 20)  # of a request that brings files
_MOST_REQUEST = 32 << 20  # of any other
_MOST_FIELD = 1 << 20  # of a part of an upload that is no file, which is kept in memory
_UPLOADS, _REQUESTS = 16, 600  # at once; each open page keeps a few requests open
_TIME = 600.0  # seconds that the body of a request may take

# Gradio's own helpers, which this page does not use: they run programs, fetch addresses or show how it is built.
_CLOSED = re.compile(r"(/gradio_api)?/(process_recording|proxy=|vibe|undo-vibe|run-history|runs|monitoring|dev/)")
_PARTS = re.compile(r"[a-z_]+")

_page: list[weakref.ref[Page]] = []


def stand_before(page: Page) -> None:
    """Close what is open in Gradio, and answer for this page from now on."""
    _page[:] = [weakref.ref(page)]
    watch.tally.gauges |= {"sessions": lambda: len(page.sessions), "jobs_in_line": lambda: len(page.sessions.turns)}
    _close_gradio()


def drain(seconds: float) -> None:
    """Let no job begin, stop those under way, and wait so long for them to write what they have."""
    page = _page[0]() if _page else None
    if page is None:
        return
    page.sessions.turns.close()
    page.sessions.stop_all()
    until = time.monotonic() + seconds
    while len(page.sessions.turns) and time.monotonic() < until:
        time.sleep(0.05)


class Guard:
    """An ASGI middleware, see the module."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self._app, self._uploads, self._open = app, 0, 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer, refuse or pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, request, began, status = scope["path"], secrets.token_hex(8), time.monotonic(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request.encode())]
            await send(message)

        self._open += 1
        try:
            if (told := _told(path)) is not None:
                await _respond(answer, *told)
            elif self._open > _REQUESTS:
                await _respond(answer, 503, b"Too many are here at once; try again in a minute.")
            elif _CLOSED.match(path):
                await _respond(answer, 404, b"Not served here.")
            else:
                await self._pass_on(scope, receive, answer)
        finally:
            self._open -= 1
            # Of a path only what it is for: what follows names a visitor's files or session.
            route = "/".join(part[0] for name in path.split("/")[1:3] if (part := _PARTS.match(name)))
            watch.tally.add("requests", f"{scope['method']} {route} {status}")
            ms = round(1000 * (time.monotonic() - began))
            watch.say(event="request", id=request, method=scope["method"], route=route, status=status, ms=ms)

    async def _pass_on(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if b"x-forwarded-for" in headers or b"forwarded" in headers:
            models.opened_to_others()  # something stands before this server, whatever address it listens at
        upload = scope["path"].rstrip("/").endswith("/upload")
        most = _MOST_UPLOAD if upload else _MOST_REQUEST
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > most:
            words = f"More than {min(most, MOST_FILE) // 1_000_000} MB at once are not taken."
            await _respond(send, 413, words.encode())
            return
        if not upload:
            await self._serve(scope, _Body(receive, most), send)
            return
        if self._uploads >= _UPLOADS:
            await _respond(send, 503, b"Many files are on their way here; try again in a minute.")
            return
        if not workplace.has_room(_existing(Path(get_upload_folder())), int(length)):
            await _respond(send, 507, workplace.NO_ROOM.encode())
            return
        self._uploads += 1
        try:
            await self._serve(scope, _Body(receive, most), send)
        finally:
            self._uploads -= 1

    async def _serve(self, scope: Message, body: _Body, send: Send) -> None:
        try:
            await self._app(scope, body, send)
        except ClientDisconnect:
            status, words = body.why or (400, b"It did not come whole.")  # which a visitor who has left does not see
            await _respond(send, status, words)


class _Body:
    """A request's body, which ends where it gets too large or takes too long, as if the visitor had left."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._left, self._until, self._whole = receive, most, time.monotonic() + _TIME, False
        self.why: tuple[int, bytes] | None = None

    async def __call__(self) -> Message:
        if self._whole:  # what follows is only whether the visitor is still there
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(self._until - time.monotonic(), 0))
        except TimeoutError:
            return self._ended(408, b"It took too long to come.")
        self._left -= len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        return message if self._left >= 0 else self._ended(413, b"It is larger than what is taken at once.")

    def _ended(self, status: int, words: bytes) -> Message:
        self.why = status, words
        return {"type": "http.disconnect"}


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())


def _told(path: str) -> tuple[int, bytes] | None:
    """The answer to who watches the server; None where something else is asked."""
    if path == "/health":
        return 200, b'{"status": "ok"}'
    if path == "/ready":
        page = _page[0]() if _page else None
        state = page.readiness() if page is not None else {"ready": False}
        return (200 if state["ready"] else 503), json.dumps(state).encode()
    if path == "/metrics" and (text := watch.exposition()) is not None:
        return 200, text
    return None


async def _respond(send: Send, status: int, body: bytes) -> None:
    kind = b"application/json" if body.startswith(b"{") else b"text/plain; charset=utf-8"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _fetch_nothing(url: str, cache_dir: str) -> str:
    """In the place of Gradio's own download, which takes files of any size into memory.

    Raises:
        gr.Error: always.
    """
    raise gr.Error("Addresses are not fetched here; download the file and give that.", print_exception=False)


def _close_gradio() -> None:
    """What Gradio offers no setting for: downloads of any size, fields without end."""
    processing_utils.async_ssrf_protected_download = _fetch_nothing
    parser: Any = route_utils.GradioMultiPartParser
    if getattr(parser.on_part_data, "bounded", False):
        return
    original = parser.on_part_data

    def on_part_data(self: Any, data: bytes, start: int, end: int) -> None:
        part = self._current_part
        if part.file is None and len(part.data) + end - start > _MOST_FIELD:
            raise MultipartParseError("A field is too long.")
        original(self, data, start, end)

    on_part_data.bounded = True  # type: ignore[attr-defined]
    parser.on_part_data = on_part_data
