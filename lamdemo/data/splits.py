"""Splitting clips by recording and pictures by source, never by frame, nor by clip where several come from one."""

from __future__ import annotations

import csv
import fnmatch
import hashlib
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from lamdemo.core.config import toml_in
from lamdemo.core.errors import LamdemoError

Part = Literal["train", "validation", "test"]

_COLLECTION = 100  # a source with more pictures than this is divided


@dataclass(frozen=True)
class Split:
    """Which clips are for what, by patterns of their paths inside the folder of videos."""

    validation: tuple[str, ...] = ()  # patterns (as in the shell) of clips to choose settings on
    test: tuple[str, ...] = ()  # patterns of clips to report on

    @classmethod
    def read(cls, path: str | Path) -> Split:
        """Read a TOML file with the lists ``validation`` and ``test``.

        Raises:
            LamdemoError: the file cannot be read as such.
        """
        path = Path(path)
        try:
            data = toml_in(path)
            return cls(tuple(map(str, data["validation"])), tuple(map(str, data["test"])))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LamdemoError(
                f"{path.name} is no split file; it needs two lists of patterns, validation and test."
            ) from error

    def part(self, name: str) -> Part:
        """The part that the clip with this relative path (with forward slashes) belongs to."""
        if any(fnmatch.fnmatchcase(name, p) for p in self.test):
            return "test"
        if any(fnmatch.fnmatchcase(name, p) for p in self.validation):
            return "validation"
        return "train"

    def select(self, names: Iterable[str], part: Part | Literal["all"]) -> list[str]:
        """Those names that belong to a part, in the given order."""
        return [n for n in names if part == "all" or self.part(n) == part]


class Picture(NamedTuple):
    """A still picture of a folder."""

    path: Path  # the file
    category: str  # what it shows, coarsely ("people", "animals" ...)
    source: str  # what it comes from
    words: str  # what it shows. These three are empty where the folder has no index


def held_out(source: str) -> bool:
    """Whether pictures of this source are kept for evaluation: one source in eight, the same ones on any machine."""
    return hashlib.sha256(source.encode()).digest()[0] % 8 == 0


def pictures_in(
    folder: str | Path, suffixes: Collection[str], part: Literal["train", "test", "all"] = "all"
) -> list[Picture]:
    """Pictures of a part below a folder, sorted by path.

    Where the folder has an ``INDEX.tsv`` with the columns file and source (and words and category, if it likes),
    pictures of one source stay together. A source with more than a hundred pictures is a collection rather than one
    recording: it is divided by words, so that the same thing in another colour, or drawn by another collection, stays
    in one part. Without an index the file's name is its source.

    Args:
        folder: pictures, nested as they may be.
        suffixes: the endings that count as pictures, in lower case with their dots.
        part: "test" for what is held out, "train" for the rest.

    Raises:
        LamdemoError: there is no such folder, or its index lacks a column.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LamdemoError(f"There is no folder {folder.name}; give one with pictures in it.")
    index: dict[str, dict[str, str]] = {}
    if (folder / "INDEX.tsv").is_file():
        with open(folder / "INDEX.tsv", encoding="utf-8", errors="replace", newline="") as stream:
            rows = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            if not {"file", "source"} <= set(rows.fieldnames or ()):
                raise LamdemoError(f"INDEX.tsv in {folder.name} lacks the columns file and source; add or remove it.")
            index = {row["file"]: row for row in rows}
    sizes = Counter(row["source"] for row in index.values())
    pictures = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes):
        row = index.get(path.relative_to(folder).as_posix(), {})
        source = row.get("source") or path.name
        if sizes[source] > _COLLECTION:
            source = row.get("words") or path.name
        if part == "all" or held_out(source) == (part == "test"):
            pictures.append(Picture(path, *(row.get(k) or "" for k in ("category", "source", "words"))))
    return pictures
