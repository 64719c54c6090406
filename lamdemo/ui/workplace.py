"""The one folder in which a served page keeps everything: uploads, results, what libraries put aside for a moment.

It goes when the program ends. What a crash left behind goes when the next one starts, and what aborted uploads leave
behind, of which Gradio knows nothing, goes while it runs.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from lamdemo.core.errors import LamdemoError

PREFIX = "lamdemo-page-"
RESERVE = 512 << 20  # bytes of the disk that are left alone
MOST_UPLOADED = 8 << 30  # bytes of all uploads that are kept at once
UPLOADS_LIVE = 5400.0  # seconds; Gradio removes those it knows of after an hour
PARTS_LIVE = 900.0  # seconds of an upload that is not whole; none may take longer
_EVERY = 60.0  # seconds between two cleanings
_LOOK = 3.0  # seconds between two looks at the memory
_SLACK = 128 << 20  # bytes of it by which the process may grow before what is free is given back
_LOCK = "in-use"

NO_ROOM = "The server has no room for new files now; try again later."


@contextmanager
def opened() -> Iterator[Path]:
    """While it is entered temporary files of this process and of Gradio go into a folder of their own."""
    above = Path(tempfile.gettempdir()).resolve()
    sweep(above)
    base = Path(tempfile.mkdtemp(prefix=PREFIX, dir=above))
    lock = _locked(base / _LOCK)
    for name in ("uploads", "tmp"):
        (base / name).mkdir()
    before = tempfile.tempdir, {name: os.environ.get(name) for name in ("GRADIO_TEMP_DIR", "TMPDIR")}
    tempfile.tempdir = str(base / "tmp")
    os.environ |= {"GRADIO_TEMP_DIR": str(base / "uploads"), "TMPDIR": str(base / "tmp")}
    over = threading.Event()

    def keep_clean() -> None:
        cleaned = kept = 0.0
        while not over.wait(_LOOK):
            if time.monotonic() - cleaned > _EVERY:
                clean(base / "uploads")
                cleaned = time.monotonic()
            if _resident() > kept + _SLACK:
                _give_back_memory()
                kept = _resident()

    threading.Thread(target=keep_clean, name="lamdemo-clean", daemon=True).start()
    try:
        yield base
    finally:
        over.set()
        shutil.rmtree(base, ignore_errors=True)
        if lock is not None:
            lock.close()
        tempfile.tempdir = before[0]
        for name, value in before[1].items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def sweep(above: Path) -> None:
    """Remove the folders of programs that did not come to an orderly end."""
    for left in above.glob(f"{PREFIX}*"):
        mine = getattr(os, "getuid", lambda: 0)()
        if left.is_symlink() or not left.is_dir() or left.stat().st_uid != mine:
            continue
        lock = _locked(left / _LOCK)
        if lock is not None:
            shutil.rmtree(left, ignore_errors=True)
            lock.close()


def _locked(path: Path) -> IO[bytes] | None:
    """A file that this process alone has locked, until it closes it or dies; None where another has."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        file = open(path, "ab")
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def clean(uploads: Path) -> None:
    """Remove uploads that are older than they may be, and the oldest where there are too many."""
    now, kept = time.time(), []
    for path in uploads.rglob("*"):
        try:
            status = path.lstat()
            age = now - status.st_mtime
            if path.is_dir():
                if age > _EVERY:  # else it may be waiting for its file
                    path.rmdir()  # none that holds one
                continue
            if age > (PARTS_LIVE if path.parent == uploads else UPLOADS_LIVE):
                path.unlink()
            else:
                kept.append((status.st_mtime, status.st_size, path))
        except OSError:
            continue  # it is in use, or went by itself
    total = sum(size for _, size, _ in kept)
    for _, size, path in sorted(kept):
        if total <= MOST_UPLOADED:
            break
        path.unlink(missing_ok=True)
        total -= size


def _resident() -> int:
    """Bytes of memory that the process has; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 0


def _give_back_memory() -> None:
    """Let the system have what is free: the C library keeps it for each thread, and that of results is gigabytes."""
    with suppress(OSError, AttributeError):  # another library than GNU's
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def bytes_in(folder: Path) -> int:
    """Bytes of all files in a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue
    return total


def has_room(folder: Path, more: int = 0) -> bool:
    """Whether the disk takes so many bytes more."""
    try:
        return shutil.disk_usage(folder).free - more > RESERVE
    except OSError:
        return False


def check_room(folder: Path, more: int = 0) -> None:
    """See that the disk takes so many bytes more.

    Raises:
        LamdemoError: it does not.
    """
    if not has_room(folder, more):
        raise LamdemoError(NO_ROOM)
