"""Files: opening one to read, replacing one whole, finding videos."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lamdemo.core.errors import LamdemoError, reason, shown_name

VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .asf .avi .dv .flv .gif .m2ts .m2v .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .vob "
    ".webm .wmv .y4m".split()
)
PICTURE_SUFFIXES = frozenset(
    ".avif .bmp .gif .heic .heif .ico .j2k .jp2 .jpeg .jpg .jxl .png .ppm .qoi .tga .tif .tiff .webp".split()
)
ANIMATION_SUFFIXES = frozenset(".apng .avif .avifs .gif .heics .png .webp".split())  # pictures that may move


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The file, opened for another process to inherit.

    Raises:
        LamdemoError: it is missing, empty, a folder, no ordinary file, or may not be read.
    """
    name = shown_name(path)
    try:
        # Before opening: to open a named pipe would wait for its other end.
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise LamdemoError(f"{name} is a folder: name a file in it.")
        if not stat.S_ISREG(status.st_mode):
            raise LamdemoError(f"{name} is not an ordinary file: give a video or a picture.")
        if not status.st_size:
            raise LamdemoError(f"{name} is empty: record or download it again.")
        file = open(path, "rb", buffering=0)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a null byte in the name
        raise LamdemoError(f"There is no file {name}: {_hint(path)}.") from error
    except PermissionError as error:
        raise LamdemoError(f"{name} may not be read: change its permissions.") from error
    except OSError as error:
        raise LamdemoError(f"{name} cannot be opened: {reason(error)}.") from error
    with file:
        yield file


def _hint(path: Path) -> str:
    """What to do about a name that is no file."""
    text = os.fspath(path)
    if text.startswith("~"):
        return "write the home folder out in full, the shell did not"
    if text.startswith(("http:/", "https:/")):
        return "download it first, addresses are not opened"
    return "check its name and folder"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new name beside ``path`` to write to, moved to ``path`` at the end, or removed on any error.

    Where ``path`` is a link, what it leads to is replaced, and the link stays.

    Raises:
        LamdemoError: ``path`` is a folder, or its folder is missing or may not be written.
    """
    real = Path(os.path.realpath(path))
    temporary = real.with_name(f".{secrets.token_hex(8)}.part")
    try:
        if os.path.isdir(real):
            raise LamdemoError(f"{shown_name(path)} is a folder: choose another name.")
        if not os.path.isdir(real.parent):
            raise LamdemoError(f"The folder for {shown_name(path)} is missing: make it first.")
        try:
            # Tells now, in the user's words, what would otherwise be an error of what writes.
            temporary.touch()
        except OSError as error:
            raise LamdemoError(f"{shown_name(path)} cannot be written there: {reason(error)}.") from error
        yield temporary
        try:
            os.replace(temporary, real)
        except OSError as error:
            raise LamdemoError(f"{shown_name(path)} cannot be written there: {reason(error)}.") from error
    finally:
        if os.path.lexists(temporary):
            temporary.unlink(missing_ok=True)


def find_videos(folder: str | os.PathLike[str], suffixes: Collection[str] = VIDEO_SUFFIXES) -> list[Path]:
    """Video files in a folder and the folders in it, sorted, told by their endings.

    Hidden files and folders are left out, and links to folders are not followed.

    Raises:
        LamdemoError: there is no such folder.
    """
    root = Path(folder)
    if not os.path.isdir(root):
        raise LamdemoError(f"There is no folder {shown_name(root)}: check its name.")
    found: list[Path] = []
    for parent, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(parent, name) for name in files if not name.startswith(".") and Path(name).suffix.lower() in suffixes
        ]
    return sorted(found)
