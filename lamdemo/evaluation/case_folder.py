"""The folder of a case: what `lamdemo scenes` writes, whichever hand draws it.

``source.mp4`` (the action in one scene), ``target.png`` (another scene), ``truth.mp4`` (the same action in that scene,
from that picture on), ``layers.npz`` (of the truth, where its layers are known) and ``case.json`` (its kind and more).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from lamdemo.core.arrays import read_arrays
from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import UNREADABLE, write_safely
from lamdemo.video import write_image, write_video

FPS = 4.0
LAYERS = "layers.npz"


@dataclass(frozen=True)
class Case:
    """One transfer to be judged: its folder, and the kind of action ("" where it is not said)."""

    folder: Path
    kind: str

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name


def find_cases(folder: str | Path) -> list[Case]:
    """The cases in a folder, sorted by name.

    Raises:
        LamdemoError: there is none, or a case's ``case.json`` is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LamdemoError(f"There is no folder {folder.name}; give one that `lamdemo scenes` wrote.")
    cases = []
    for place in sorted(p.parent for p in folder.glob("*/target.png")):
        missing = [n for n in ("source.mp4", "truth.mp4") if not (place / n).is_file()]
        if missing:
            raise LamdemoError(f"The case {place.name} lacks {missing[0]}; add it or remove the case.")
        kind = ""
        if (place / "case.json").is_file():
            try:
                kind = str(json.loads((place / "case.json").read_text(encoding="utf-8")).get("kind", ""))
            except (OSError, ValueError, AttributeError) as error:
                raise LamdemoError(f"case.json of the case {place.name} is damaged; mend or remove it.") from error
        cases.append(Case(place, kind))
    if not cases:
        raise LamdemoError(
            f"The folder {folder.name} holds no case; a case is a folder with source.mp4, target.png and truth.mp4."
        )
    return cases


@dataclass(frozen=True)
class Layers:
    """Layers of a truth, at half of its size."""

    matte: np.ndarray  # uint8 [T, h, w], how much of each place the acting thing covers, 0 to 255
    hole: np.ndarray  # uint8 [T, h, w], 1 where the acting thing was in the first frame and what is behind it shows now
    enters: bool  # the acting thing is not there at first and comes in

    @classmethod
    def of(cls, matte: np.ndarray, hole: np.ndarray, *, enters: bool) -> Layers:
        """Args: shares float ``[T, H, W]`` at the truth's own size, from 0 to 1; whether the thing enters."""
        size = matte.shape[2] // 2, matte.shape[1] // 2

        def halved(shares: np.ndarray) -> np.ndarray:
            return np.stack([cv2.resize(s, size, interpolation=cv2.INTER_AREA) for s in shares])

        return cls((255 * halved(matte)).round().astype(np.uint8), (halved(hole) > 0.5).astype(np.uint8), enters)

    @classmethod
    def read(cls, folder: Path, frames: int) -> Layers | None:
        """The layers of a case whose truth has so many frames; None where they are not known.

        Raises:
            LamdemoError: they are damaged, or of another number of frames.
        """
        if not (folder / LAYERS).is_file():
            return None
        try:
            stored = read_arrays(folder / LAYERS, most=1 << 30)
            layers = cls(stored["matte"], stored["hole"], "entering" in stored)
        except UNREADABLE as error:
            raise LamdemoError(f"{LAYERS} of the case {folder.name} is damaged; mend or remove it.") from error
        if layers.matte.ndim != 3 or layers.matte.shape != layers.hole.shape or len(layers.matte) != frames:
            raise LamdemoError(f"{LAYERS} of the case {folder.name} does not fit its truth; mend or remove it.")
        return layers

    def write(self, folder: Path) -> None:
        """Store them in a case's folder."""
        arrays = {"matte": self.matte, "hole": self.hole}
        if self.enters:
            arrays["entering"] = self.matte
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        write_safely(folder / LAYERS, buffer.getvalue())


K = TypeVar("K", bound=str)


def kinds_of_cases(out: Path, cases: int, steps: int, size: int, kind: K | None, kinds: Sequence[K]) -> list[K]:
    """The kinds of cases that are to be written: ``kind``, or all ``kinds`` by turns.

    Raises:
        LamdemoError: the folder is not empty, a number is out of range, or there is no such kind.
    """
    if cases < 1 or not 1 <= steps <= 64 or not 32 <= size <= 1024 or size % 2:
        raise LamdemoError(
            "Scenes need one case or more, 1 to 64 steps, and an even size from 32 to 1024 pixels; change it."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LamdemoError(f"{out.name} is not an empty folder; choose a new one.")
    if kind is not None and kind not in kinds:
        raise LamdemoError(f"There is no kind of action {kind!r} to make; choose one of {', '.join(kinds)}.")
    return [kind or kinds[i % len(kinds)] for i in range(cases)]


def write_each(out: Path, kinds: Sequence[K], write: Callable[[int, K], Path]) -> list[Path]:
    """Write cases by their numbers and kinds; their folders.

    Raises:
        LamdemoError: they cannot be written there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        return [write(i, kind) for i, kind in enumerate(tqdm(kinds, desc="writing", disable=None))]
    except OSError as error:
        raise LamdemoError(f"The cases cannot be written to {out.name}; choose another place.") from error


def write_case(
    folder: Path, source: np.ndarray, truth: np.ndarray, about: dict[str, Any], layers: Layers | None = None
) -> Path:
    """Write a case.

    Args:
        folder: its own; is made.
        source: uint8 ``[T, h, w, 3]``.
        truth: uint8 ``[T, H, W, 3]``, of even sides; its first frame is the target.
        about: what ``case.json`` says; ``kind`` is read again.
        layers: of the truth.

    Returns:
        The folder.
    """
    folder.mkdir()
    # Hardly compressed: the truth should be the scene, not the codec.
    write_video(folder / "source.mp4", source, FPS, crf=10, preset="fast")
    write_video(folder / "truth.mp4", truth, FPS, crf=10, preset="fast")
    write_image(folder / "target.png", truth[0])
    if layers is not None:
        layers.write(folder)
    # Written last: a case without it was cut short.
    write_safely(folder / "case.json", (json.dumps(about, indent=1) + "\n").encode())
    return folder
