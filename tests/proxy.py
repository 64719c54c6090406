"""A reverse proxy on this machine that shows a page below a path, as nginx in front of many programs does."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection"}


@contextmanager
def below(path: str, page: str, failed: list[str]) -> Iterator[str]:
    """The address of a proxy that passes on what is asked below ``path``, and answers 404 to all else.

    Who leaves out the slash at the path's end is sent to where it is, as nginx does: addresses of files are read
    against it, Gradio's own too.

    Args:
        path: such as ``/lam``.
        page: address of what it stands before.
        failed: takes what was answered with 400 or more.
    """
    behind = urlsplit(page)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self) -> None:
            if not self.path.startswith(f"{path}/"):
                if self.path == path:
                    self.send_response(301)
                    self.send_header("Location", f"{path}/")
                else:
                    failed.append(f"404 {self.path}")
                    self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kept = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
            onward = http.client.HTTPConnection(behind.hostname or "", behind.port or 80, timeout=300)
            onward.request(self.command, self.path[len(path) :], body or None, kept)
            got = onward.getresponse()
            if got.status >= 400:
                failed.append(f"{got.status} {self.path}")
            self.send_response(got.status)
            for key, value in got.getheaders():
                if key.lower() not in _HOP:
                    self.send_header(key, value)
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                while piece := got.read1(65536):  # as it comes: events are not to wait for each other
                    self.wfile.write(piece)
                    self.wfile.flush()
            except (OSError, http.client.HTTPException):
                pass  # who asked has left, or the page is closed
            finally:
                onward.close()
                self.close_connection = True

        do_GET = do_POST = do_HEAD = answer

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{path}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
