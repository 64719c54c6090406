"""What tables are made of and for: reports, the checkpoint that is shown, and links from a file to its reports."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lamdemo.reporting.reports import Reports, judged_on


@dataclass(frozen=True)
class View:
    """What tables are made of and for."""

    reports: Sequence[Reports]  # of the checkpoints that are compared
    chosen: str  # name of the checkpoint that tables of a single one are about
    folder: Path | None = None  # of the file they will stand in, from which links lead to the reports; None: no links

    @property
    def one(self) -> Reports | None:
        """The chosen checkpoint's reports."""
        return next((r for r in self.reports if r.name == self.chosen), None)

    def having(self, *parts: str) -> list[Reports]:
        """The reports of the checkpoints that were judged in all of these parts."""
        return [r for r in self.reports if all(p in r.results for p in parts)]

    def link(self, reports: Reports, part: str) -> str:
        """A link to a report, or its name where there is no way to it."""
        path = reports.files[part]
        words = f"{reports.name}/{path.name}"
        return f"[{words}]({target})" if (target := relative(path, self.folder)) else words

    def source(self, of: Sequence[Reports], part: str) -> str:
        """The line under a table that says where its figures are from, and on what they were measured."""
        links = ", ".join(self.link(r, part) for r in of)
        told = {judged_on(r, part): r for r in of}
        words = f"From {links}"
        if len(told) > 1:
            return f"{words}. **Not all of these were judged on the same data; rows cannot be compared.**"
        about = data_of(of[0], part)
        return f"{words}{'; ' + about if about else ''}."


def relative(path: Path, folder: Path | None) -> str:
    """A link from a folder to a file, quoted; "" where it would name folders of this machine."""
    if folder is None:
        return ""
    path, folder = path.resolve(), folder.resolve()
    try:
        shared = os.path.commonpath([path, folder])
    except ValueError:  # on different drives
        return ""
    # A link that climbs far up shows nothing to those who have one of the two folders only.
    climbed = len(folder.relative_to(shared).parts)
    if Path(shared) == Path(Path(shared).anchor) or climbed > 3:
        return ""
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def data_of(reports: Reports, part: str) -> str:
    """What a report was measured on, in words."""
    told = []
    split = reports.dig(f"{part}/settings/part")
    clips, recordings = (reports.number(f"{part}/clips/{k}") for k in ("files", "recordings"))
    if part in ("pairs", "secondhand"):
        cases = reports.number(f"{part}/all/cases")
        return f"{cases:.0f} transfers" if cases else ""
    if isinstance(split, str):
        told.append("all parts of the split" if split == "all" else f"{split} part")
    if clips and recordings:
        told.append(f"{clips:.0f} clips of {recordings:.0f} recordings")
    cases = reports.number(f"{part}/settings/cases")
    if cases:
        told.append(f"{cases:.0f} procedural cases")
    return ", ".join(told)


def nothing(view: View, part: str, alone: bool = False) -> str:
    """What stands in the place of a table for which there is no report."""
    of = f" of {view.chosen}" if alone else ""
    return f"Not measured: there is no report {part}.json{of}."
