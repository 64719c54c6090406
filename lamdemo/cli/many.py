"""Many sources on many targets, for ``lamdemo transfer --target``: one loading, one reading of each source."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lamdemo.cli.carrying import (
    Settings,
    Watched,
    about,
    aim,
    carried,
    read_source,
    report_of,
    requested,
    write_report,
    write_results,
)
from lamdemo.cli.common import appearing_whole
from lamdemo.core.errors import LamdemoError, as_text
from lamdemo.core.files import file_hash, write_safely

if TYPE_CHECKING:
    import numpy as np

    from lamdemo.engine import TransferPipeline

_CELL = (192, 144)  # pixels across and down of a place on the contact sheet
_SHEET = 12_000  # pixels of its longer side at most; places get smaller where there are many
_KEPT = 16  # targets that stay in memory
_COLUMNS = ("source", "target", "folder", "steps", "verdict", "probability", "motion", "change", "seconds", "error")


@dataclass(frozen=True)
class Pair:
    """A source and a target."""

    source: Path  # path of it
    target: Path  # path of it
    folder: Path  # of their results
    key: str  # what tells this transfer from one of other files, settings or weights

    def is_done(self, settings: Settings) -> bool:
        """Whether its results are there, whole, and of just this."""
        names = ["transfer.mp4", "side_by_side.mp4", "latents.npz", *(f"transfer.{f}" for f in settings.formats)]
        try:
            told = json.loads((self.folder / "report.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return told.get("made_from") == self.key and all((self.folder / name).is_file() for name in names)


def transfer_many(
    sources: Sequence[Path],
    targets: Sequence[Path],
    out: Path,
    settings: Settings,
    load: Callable[[], TransferPipeline],
    arguments: list[str],
) -> None:
    """Do every source to every target. What cannot be done is told at the end, and stops nothing else.

    Args:
        sources: clips, files of actions, and folders of clips.
        targets: pictures, clips, and folders of both.
        out: folder of the results.
        settings: alike for all.
        load: makes the model.
        arguments: of the command, for the reports.

    Raises:
        LamdemoError: there is nothing to do, or something could not be done.
    """
    from tqdm import tqdm

    from lamdemo.video import PICTURE_SUFFIXES, VIDEO_SUFFIXES

    clips = _files(sources, VIDEO_SUFFIXES | {".npz"}, "clip")
    pictures = _files(targets, VIDEO_SUFFIXES | PICTURE_SUFFIXES, "picture or clip")
    pipeline = load()
    pairs = _pairs(clips, pictures, out, settings, pipeline.checkpoint)
    errors: dict[Pair, str] = {}
    rest = {pair for row in pairs for pair in row if not pair.is_done(settings)}
    done = sum(map(len, pairs)) - len(rest)
    begun = time.monotonic()
    try:
        with tqdm(total=len(rest), desc="transfers", unit="transfer", disable=None) as bar:
            for row in pairs:
                for pair, error in _of_source(pipeline, [p for p in row if p in rest], settings, arguments):
                    bar.update()
                    bar.set_postfix_str(pair.folder.name[:40])
                    if error:
                        errors[pair] = error
    finally:
        if out.is_dir():
            _write_table(out, [pair for row in pairs for pair in row], errors)
    _write_sheet(out, pairs, settings)
    seconds = time.monotonic() - begun
    made = len(rest) - len(errors)
    kept = f", {done} were there" if done else ""
    rate = f" in {seconds:,.0f} s" if made else ""
    typer.echo(f"{out / 'results.csv'} ({made} transfers{rate}{kept})")
    if errors:
        first = next(iter(errors.values()))
        raise LamdemoError(f"{len(errors)} of {len(rest)} could not be done, see results.csv; the first: {first}")


def _files(paths: Sequence[Path], suffixes: frozenset[str], kind: str) -> list[Path]:
    """The files that are named, and those of these kinds in the folders that are; each once.

    Raises:
        LamdemoError: a folder holds none.
    """
    from lamdemo.video import find_videos

    found: dict[Path, None] = {}
    for path in paths:
        inside = find_videos(path, suffixes) if path.is_dir() else [path]
        if not inside:
            raise LamdemoError(f"There is no {kind} in {path.name or path}; give another folder.")
        found.update(dict.fromkeys(inside))
    return list(found)


def _pairs(
    clips: Sequence[Path], pictures: Sequence[Path], out: Path, settings: Settings, checkpoint: str
) -> list[list[Pair]]:
    """A row of pairs for each source."""
    names = _names(clips), _names(pictures)
    digests = {path: _digest(path) for path in {*clips, *pictures}}
    return [
        [
            Pair(
                *(clip, picture, out / f"{names[0][clip]}--{names[1][picture]}"),
                hashlib.sha256(
                    "|".join((digests[clip], digests[picture], settings.digest(), checkpoint)).encode()
                ).hexdigest(),
            )
            for picture in pictures
        ]
        for clip in clips
    ]


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """A name for each file, its own without the ending; those of one name are numbered in their order."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        stem = as_text(path.stem)[:80]
        name = next(n for n in (stem, *(f"{stem}-{i}" for i in range(2, len(paths) + 2))) if n.casefold() not in taken)
        taken.add(name.casefold())  # there are disks that do not tell capitals
        names[path] = name
    return names


def _digest(path: Path) -> str:
    """A hash of what a file holds; of one that cannot be read, its name's, for whoever reads it to tell."""
    try:
        return file_hash(path)
    except OSError:
        return hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()


def _of_source(
    pipeline: TransferPipeline, pairs: Sequence[Pair], settings: Settings, arguments: list[str]
) -> Iterator[tuple[Pair, str]]:
    """Do one source to its targets; yields each with what went wrong, empty where nothing did."""
    if not pairs:
        return
    try:
        source = read_source(pipeline, pairs[0].source, settings)
    except LamdemoError as error:
        yield from ((pair, str(error)) for pair in pairs)
        return
    for pair in pairs:
        try:
            source = _one(pipeline, source, pair, settings, arguments)
            yield pair, ""
        except LamdemoError as error:
            yield pair, str(error)


@lru_cache(maxsize=_KEPT)
def _aimed(target: Path, at: float | None, fps: float, context: int) -> np.ndarray:
    return aim(target, at, fps, context)


def _one(pipeline: TransferPipeline, source: Watched, pair: Pair, settings: Settings, arguments: list[str]) -> Watched:
    """One transfer; returns the source with its actions, which are inferred once."""
    begun = time.monotonic()
    past = _aimed(pair.target, settings.target_time, source.rate, pipeline.model.config.world_model.context)
    request = requested(source, past, settings)
    made = carried(pipeline, request, lambda step: None)
    report = report_of(pipeline, made, request, source, pair.target, settings)
    with appearing_whole(pair.folder) as folder:
        write_results(folder, made, request, source, settings)
        seconds = {"seconds": {"all": round(time.monotonic() - begun, 3)}, "made_from": pair.key}
        write_report(folder, {**report, **seconds, **about(arguments)})
    return replace(source, actions=made.inferred)


def _write_table(out: Path, pairs: Sequence[Pair], errors: dict[Pair, str]) -> None:
    """Write ``results.csv``: a line for each pair that was done or could not be."""
    text = io.StringIO()
    table = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    table.writeheader()
    for pair in pairs:
        line: dict[str, Any] = {"source": pair.source.name, "target": pair.target.name}
        if pair in errors:
            line["error"] = errors[pair]
        else:
            try:
                told = json.loads((pair.folder / "report.json").read_text(encoding="utf-8"))
                if told.get("made_from") != pair.key:
                    continue  # not yet its turn when it was stopped
            except (OSError, ValueError):
                continue
            verdict, measures = told["verdict"] or {}, told["measures"]
            line |= {"folder": pair.folder.name, "steps": told["steps"]["made"], "seconds": told["seconds"]["all"]}
            line |= {"verdict": verdict.get("label"), "probability": verdict.get("probability")}
            line |= {name: measures.get(name) for name in ("motion", "change")}
        table.writerow({key: as_text(value) if isinstance(value, str) else value for key, value in line.items()})
    write_safely(out / "results.csv", text.getvalue().encode())


def _write_sheet(out: Path, pairs: Sequence[Sequence[Pair]], settings: Settings) -> None:
    """Write ``sheet.jpg``: targets above, sources on the left, and the last frame of each transfer.

    Raises:
        LamdemoError: it cannot be written there.
    """
    from lamdemo.video import contact_sheet, write_image

    columns, rows = len(pairs[0]) + 1, len(pairs) + 1
    scale = min(1.0, _SHEET / (columns * _CELL[0]), _SHEET / (rows * _CELL[1]))
    width, height = max(8, round(_CELL[0] * scale)), max(6, round(_CELL[1] * scale))
    sheet: list[list[np.ndarray | None]] = [[None, *(_still(p.target, settings.target_time or 0.0) for p in pairs[0])]]
    for row in pairs:
        shown = [_still(pair.folder / "transfer.mp4", 1e6) for pair in row]
        begin = settings.source_range.start if settings.source_range else 0.0
        sheet.append([None if row[0].source.suffix.lower() == ".npz" else _still(row[0].source, begin), *shown])
    if any(picture is not None for row in sheet[1:] for picture in row[1:]):
        write_image(out / "sheet.jpg", contact_sheet(sheet, width=width, height=height))


def _still(path: Path, at: float) -> np.ndarray | None:
    from lamdemo.video import read_frame

    try:
        return read_frame(path, at, max(_CELL))
    except LamdemoError:
        return None
