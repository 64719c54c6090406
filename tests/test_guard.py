"""What stands before the page: a real server on this machine, asked by programs that mean well and by others."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio_client import Client, handle_file

from lamdemo.core.errors import LamdemoError
from lamdemo.engine import TransferPipeline
from lamdemo.jobs.turns import Busy, Turns, through
from lamdemo.ui import build_page, guard, inputs, launch_options, models, sessions, watch, workplace
from lamdemo.ui.sessions import Sessions

BOUNDARY = "x" * 20
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> TransferPipeline:
    return TransferPipeline.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def served(pipeline: TransferPipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address of a page, and the folder of its uploads."""
    with pytest.MonkeyPatch.context() as patch:
        uploads = tmp_path_factory.mktemp("uploads")
        patch.setenv("GRADIO_TEMP_DIR", str(uploads))
        page = build_page(pipeline)
        _, url, _ = page.launch(prevent_thread_lock=True, server_port=_free(), quiet=True, **launch_options())
        yield url, uploads
        page.close()


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """A service on this machine that nobody outside may reach, and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"secret")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", asked
    server.shutdown()
    server.server_close()


def connection(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(url.split("//")[1].rstrip("/"), timeout=30)


def ask(url: str, path: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, bytes, str]:
    server = connection(url)
    server.request(method, path, body, headers)
    answer = server.getresponse()
    return answer.status, answer.read(), answer.headers.get("x-request-id", "")


def multipart(content: bytes, filename: str | None = "a.mp4") -> bytes:
    name = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"{name}\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def upload(url: str, body: bytes, **headers: str) -> tuple[int, bytes, str]:
    kind = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    return ask(url, "/gradio_api/upload", "POST", body, **kind, **headers)


def test_health_readiness_and_metrics(served: tuple[str, Path]) -> None:
    url, _ = served
    assert ask(url, "/health")[:2] == (200, b'{"status": "ok"}')
    status, body, _ = ask(url, "/ready")
    assert status == 200 and json.loads(body)["model"] is True
    pytest.importorskip("prometheus_client")
    status, body, _ = ask(url, "/metrics")
    assert status == 200 and b"lamdemo_requests_total" in body and b"lamdemo_jobs_in_line 0.0" in body


def test_requests_are_told_apart_and_nobody_is_named(
    served: tuple[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    url, _ = served
    with caplog.at_level("INFO", logger="lamdemo.requests"):
        ids = {ask(url, path)[2] for path in ("/", "/config", "/gradio_api/file=/home/anna/secret.mp4?who=anna")}
        deadline = time.monotonic() + 10
        lines: list[dict[str, Any]] = []
        # A line is written when its answer is out; that of a test before may still come among these.
        while not ids <= {line.get("id") for line in lines} and time.monotonic() < deadline:
            time.sleep(0.02)
            lines = [json.loads(record.message) for record in caplog.records]
    assert len(ids) == 3 and ids <= {line.get("id") for line in lines}
    assert "anna" not in caplog.text and "127.0.0.1" not in caplog.text
    assert {line["route"] for line in lines} >= {"config", "gradio_api/file"}


@pytest.mark.parametrize(
    "path", ["/gradio_api/proxy=http://127.0.0.1/", "/gradio_api/vibe-code", "/monitoring/summary"]
)
def test_what_the_page_does_not_use_is_closed(served: tuple[str, Path], path: str) -> None:
    assert ask(served[0], path)[0] == 404


def test_nothing_is_recorded_for_strangers(served: tuple[str, Path]) -> None:
    assert ask(served[0], "/gradio_api/process_recording", "POST", b"")[0] == 404


def test_an_upload_that_is_too_large_is_refused_before_it_comes(served: tuple[str, Path]) -> None:
    url, uploads = served
    server = connection(url)
    server.putrequest("POST", "/gradio_api/upload")
    server.putheader("content-length", str(guard.MOST_FILE * 2))
    server.endheaders()
    answer = server.getresponse()  # nothing was sent
    assert answer.status == 413 and b"500 MB" in answer.read()
    assert ask(url, "/gradio_api/queue/join", "POST", b"x" * (33 << 20))[0] == 413
    assert not [p for p in uploads.rglob("*") if p.is_file()]


def test_an_upload_without_a_length_ends_where_it_gets_too_large(
    served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, uploads = served
    monkeypatch.setattr(guard, "_MOST_UPLOAD", 1 << 20)
    body = (piece for piece in [multipart(b"")[:100], *[secrets.token_bytes(1 << 16)] * 100])
    kind = {"content-type": f"multipart/form-data; boundary={BOUNDARY}", "transfer-encoding": "chunked"}
    server = connection(url)
    try:
        server.request("POST", "/gradio_api/upload", body, kind, encode_chunked=True)
        assert server.getresponse().status == 413
    except (OSError, http.client.HTTPException):
        pass  # it hung up
    assert sum(p.stat().st_size for p in uploads.rglob("*") if p.is_file()) <= 1 << 20
    monkeypatch.setattr(workplace, "PARTS_LIVE", -1.0)
    workplace.clean(uploads)
    assert not [p for p in uploads.rglob("*") if p.is_file()]


def test_a_field_that_is_no_file_is_not_kept_in_memory(served: tuple[str, Path]) -> None:
    url, _ = served
    status, body, _ = upload(url, multipart(bytes(4 << 20), None))
    assert status == 400 and b"field" in body


def test_a_slow_upload_ends(served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    url, _ = served
    monkeypatch.setattr(guard, "_TIME", 1.0)
    server = connection(url)
    server.putrequest("POST", "/gradio_api/upload")
    server.putheader("content-type", f"multipart/form-data; boundary={BOUNDARY}")
    server.putheader("content-length", "1000")
    server.endheaders()
    server.send(multipart(b"slow")[:60])
    began = time.monotonic()
    assert server.getresponse().status == 408
    assert time.monotonic() - began < 20


def test_too_many_uploads_and_a_full_disk_are_told(served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    url, _ = served
    with monkeypatch.context() as patch:
        patch.setattr(guard, "_UPLOADS", 0)
        assert upload(url, multipart(b"a"))[0] == 503
    with monkeypatch.context() as patch:
        patch.setattr(guard, "_REQUESTS", 0)
        assert ask(url, "/config")[0] == 503 and ask(url, "/health")[0] == 200
    monkeypatch.setattr(workplace, "RESERVE", 1 << 60)
    status, body, _ = upload(url, multipart(b"a"))
    assert status == 507 and b"no room" in body
    with pytest.raises(LamdemoError, match="no room"):
        workplace.check_room(Path.cwd())


def test_addresses_are_not_fetched(served: tuple[str, Path], listener: tuple[str, list[str]], photo: Path) -> None:
    """Neither of this machine nor of any other: Gradio would ask a name service of its own for some."""
    client = Client(served[0], verbose=False)
    with pytest.raises(Exception, match="Addresses are not fetched"):
        client.predict(
            {"path": listener[0] + "a.mp4", "meta": {"_type": "gradio.FileData"}},
            handle_file(str(photo)),
            1.0,
            False,
            1,
            api_name="/transfer",
        )
    assert not listener[1]


def test_files_of_this_machine_cannot_be_named(served: tuple[str, Path], photo: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(photo.read_bytes())
    client = Client(served[0], verbose=False)
    for path in (str(secret), "/etc/passwd"):
        with pytest.raises(Exception) as refused:
            client.predict(
                {"path": path, "meta": {"_type": "gradio.FileData"}},
                handle_file(str(photo)),
                1.0,
                False,
                1,
                api_name="/transfer",
            )
        assert path not in str(refused.value)


def test_a_page_is_public_by_where_it_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMDEMO_HOST", raising=False)
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.setattr(models, "_open", threading.Event())
    with gr.Blocks() as page:
        pass
    models.served_as(page)
    for host in models.LOOPBACK:
        page.server_name = host
        assert not models.is_public()
    page.server_name = "0.0.0.0"
    assert models.is_public()
    page.server_name, page.share = "127.0.0.1", True
    assert models.is_public()
    page.share = False
    assert not models.is_public()
    models.opened_to_others()
    assert models.is_public()


def test_a_request_through_a_proxy_makes_the_page_public(
    served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "_open", threading.Event())
    ask(served[0], "/config", **{"x-forwarded-for": "192.0.2.1"})
    assert models._open.is_set()


def test_the_workplace_goes_and_so_does_what_a_crash_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    crashed, others = tmp_path / (workplace.PREFIX + "crashed"), tmp_path / "others"
    for folder in (crashed, others):
        folder.mkdir()
        (folder / "video.mp4").write_bytes(b"0")
    (tmp_path / (workplace.PREFIX + "link")).symlink_to(others)
    with workplace.opened() as first:
        assert not crashed.exists() and (others / "video.mp4").exists()
        assert os.environ["GRADIO_TEMP_DIR"].startswith(str(first))
        assert Sessions().get("a").folder.is_relative_to(first)
        workplace.sweep(tmp_path)  # as another program that starts
        assert first.exists()
    assert not first.exists() and "GRADIO_TEMP_DIR" not in os.environ


def test_uploads_go_when_they_are_old_and_the_oldest_where_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(name: str, age: float) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(1000))
        os.utime(path, (time.time() - age,) * 2)
        return path

    old, part, fresh, newest = put("a/old", 6000), put("part", 1000), put("b/fresh", 20), put("c/newest", 10)
    workplace.clean(tmp_path)
    assert [p.exists() for p in (old, part, fresh, newest)] == [False, False, True, True]
    monkeypatch.setattr(workplace, "MOST_UPLOADED", 1500)
    workplace.clean(tmp_path)
    assert not fresh.exists() and newest.exists()
    workplace.clean(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b", "c"}  # just emptied, a folder may wait for a new file
    for folder in ("a", "b"):
        os.utime(tmp_path / folder, (time.time() - 100,) * 2)
    workplace.clean(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"c"}


def test_a_session_may_not_fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Sessions()
    session = made.get("a")
    monkeypatch.setattr(sessions, "MOST_BYTES", 1000)
    with session.place("film") as folder:
        (folder / "film.mp4").write_bytes(bytes(2000))
    with pytest.raises(LamdemoError, match="more files than are kept"), session.place("film"):
        pass


def test_sessions_beyond_the_limit_take_the_place_of_silent_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 3)
    made = Sessions()
    first, second = made.get("a"), made.get("b")
    made.get("c")
    made.get("a")
    made.get("d")
    assert len(made) == 3 and second.ended and not first.ended
    assert made.get("a") is first


def test_a_server_that_goes_down_takes_nothing_new_and_stops_what_runs() -> None:
    made = Sessions()
    stop = made.get("a").stop("result")
    made.turns.close()
    made.stop_all()
    assert stop.is_set()
    with pytest.raises(Busy, match="going down"):
        made.turns.enter("b")
    assert isinstance(made.turns, Turns)


def test_paths_that_nobody_asked_for_before_are_counted_as_others() -> None:
    tally = watch.Tally()
    for n in range(2 * watch.MOST_LABELS):
        tally.add("requests", f"GET {n} 404")
    assert len(tally.counts) == watch.MOST_LABELS + 1 and tally.counts["requests", "other"] == watch.MOST_LABELS


def test_jobs_are_counted_by_how_they_end() -> None:
    before = watch.tally.counts.copy()
    for error in (None, Busy("x"), LamdemoError("x"), KeyError("x")):
        try:
            with watch.job("test"):
                if error is not None:
                    raise error
        except (LamdemoError, KeyError):
            pass
    told = {label: n for (name, label), n in (watch.tally.counts - before).items() if name == "jobs"}
    assert told == {"test/done": 1, "test/busy": 1, "test/refused": 1, "test/failed": 1}


def test_a_file_that_takes_long_does_not_hold_up_the_line_at_the_model() -> None:
    turns, goes_on, reads = Turns(), threading.Event(), threading.Event()

    def slow() -> Iterator[str]:
        with inputs.reading():
            reads.set()
            assert goes_on.wait(60)
        yield "read"

    def other() -> Iterator[str]:
        yield "computed"

    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(through(slow(), turns.enter("A"))), daemon=True)
    thread.start()
    assert reads.wait(60)
    assert through(other(), turns.enter("B")) == "computed"
    goes_on.set()
    thread.join(60)
    assert said == ["read"]


def test_a_file_that_is_no_use_is_refused_without_a_place_in_the_line(
    pipeline: TransferPipeline, small_clip: Path, photo: Path, tmp_path: Path
) -> None:
    page = build_page(pipeline)
    asked = next(f for f in page.fns.values() if f.api_name == "transfer").fn
    turns = asked.__self__.page.sessions.turns
    for k in range(turns.most):
        turns.enter(f"visitor {k}")
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 9)
    visitor = gr.Request(session_hash="another")
    for source, target, words in (
        (tmp_path / "noise.mp4", photo, "noise.mp4 is not a video or picture"),
        (small_clip, tmp_path / "noise.mp4", "noise.mp4 is not a video or picture"),
        (photo, photo, "single picture"),
        (small_clip, photo, "in line already"),  # what is of use has to wait
    ):
        with pytest.raises(gr.Error, match=words):
            asked(str(source), str(target), 1, False, 1, visitor)


def test_no_more_than_a_few_files_are_read_at_once() -> None:
    at_once, most, lock = 0, 0, threading.Lock()

    def read() -> None:
        nonlocal at_once, most
        with inputs.reading():
            with lock:
                at_once += 1
                most = max(most, at_once)
            time.sleep(0.05)
            with lock:
                at_once -= 1

    threads = [threading.Thread(target=read) for _ in range(3 * inputs.DECODERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == inputs.DECODERS


def started(checkpoint: Path, scratch: Path) -> tuple[subprocess.Popen[bytes], str]:
    """The page as `lamdemo app` opens it, once it is ready."""
    port = _free()
    environment = {**os.environ, "TMPDIR": str(scratch), "LAMDEMO_LOG": "1", "PYTHONPATH": str(ROOT)}
    for name in ("GRADIO_TEMP_DIR", "LAMDEMO_HOST", "SPACE_ID"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "lamdemo", "app", "--port", str(port), "--checkpoint", str(checkpoint)]
    with open(scratch / "server.log", "ab") as log:
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + 120
    while time.monotonic() < until:
        try:
            if ask(url, "/ready")[0] == 200:
                return process, url
        except OSError:
            assert process.poll() is None, (scratch / "server.log").read_text()
        time.sleep(0.2)
    process.kill()
    raise AssertionError((scratch / "server.log").read_text())


def test_an_orderly_end_leaves_nothing_and_a_crash_is_swept(tiny_checkpoint: Path, tmp_path: Path) -> None:
    process, url = started(tiny_checkpoint, tmp_path)
    try:
        assert upload(url, multipart(b"a video"))[0] == 200
        (first,) = tmp_path.glob(f"{workplace.PREFIX}*")
        assert [p.name for p in (first / "uploads").rglob("*.mp4")] == ["a.mp4"]
        # The line is written after the answer.
        until = time.monotonic() + 30
        while "gradio_api/upload" not in (log := (tmp_path / "server.log").read_text()) and time.monotonic() < until:
            time.sleep(0.05)
        assert any(json.loads(line).get("route") == "gradio_api/upload" for line in log.splitlines() if line[:1] == "{")
        process.kill()  # a crash
        process.wait(30)
        assert first.exists()
        process, url = started(tiny_checkpoint, tmp_path)
        (second,) = tmp_path.glob(f"{workplace.PREFIX}*")
        assert second != first
        process.terminate()
        assert process.wait(30) in (0, 130)  # the latter where it was still opening
        assert [p.name for p in tmp_path.iterdir()] == ["server.log"]
    finally:
        process.kill()
