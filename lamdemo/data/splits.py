"""Splitting clips by recording, never by frame, nor by clip where several come from one recording."""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lamdemo.errors import LamdemoError

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Split:
    """Which clips are for what, by patterns of their paths inside the folder of videos.

    Attributes:
        validation: patterns (as in the shell) of clips to choose settings on.
        test: patterns of clips to report on.
    """

    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: str | Path) -> Split:
        """Read a TOML file with the lists ``validation`` and ``test``.

        Raises:
            LamdemoError: the file cannot be read as such.
        """
        path = Path(path)
        try:
            data = tomllib.loads(path.read_text())
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
