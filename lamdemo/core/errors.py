"""Errors that are meant for the person in front of the page or the command line, and words for them."""

from __future__ import annotations

import os
from pathlib import Path


class LamdemoError(Exception):
    """Something the user can mend, said in one sentence: what is wrong and what to do.

    The message must hold no path of this machine beyond the file name the user gave, and no trace. The
    command line prints it and exits with code 2, the page shows it as a notice.
    """


def as_text(name: str) -> str:
    """A name of the system as text that can be written.

    Names are bytes there. What is no text in them, Python keeps as lone surrogates, which no encoding takes; and in
    the C locale it keeps everything beyond ASCII so.
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def shown_name(path: str | os.PathLike[str]) -> str:
    """A file's name for a sentence: no folder, nothing unprintable, not too long."""
    name = "".join(c if c.isprintable() else "?" for c in as_text(Path(path).name)) or "The file"
    return name if len(name) <= 80 else f"{name[:60]}…{name[-16:]}"


def reason(error: OSError) -> str:
    """What the system says, for a sentence."""
    return error.strerror or "unknown reason"
