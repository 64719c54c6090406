"""Cut-outs and backgrounds that the second hand draws from, read in linear light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from lamdemo import data
from lamdemo.core.errors import LamdemoError
from lamdemo.data.splits import pictures_in

_ENDINGS = (".png", ".webp", ".jpg", ".jpeg")
_DRAWN = 0.15  # share of drawn cut-outs (emoji) among those that are taken, where there are photographs too
_LEAST_SIDE = 24  # pixels
_RIM = 2  # empty pixels around a cut-out, so that its edge is sampled softly


@dataclass(frozen=True)
class Entry:
    """A picture of a bank."""

    path: Path  # of the file
    name: str  # its folder's name and its path in it
    source: str  # what it comes from; pictures of one source are all held out or none is
    category: str  # "people", "animals", ...; "" where it is not known
    words: str  # what it shows

    @property
    def drawn(self) -> bool:
        """Whether it is an emoji or the like, by the names in the shared data."""
        return self.path.name.startswith("d_")


@dataclass(frozen=True, eq=False)
class Cutout:
    """A cut-out: premultiplied linear light and alpha, float32 ``[H, W, 4]`` at full, half, ... size."""

    entry: Entry
    levels: tuple[np.ndarray, ...]


def bundled_things() -> Path:
    """The folder of cut-outs that come with the code, found as files: not through the code that training uses."""
    return Path(data.__file__).parent / "scenes" / "bundled"


def entries(folders: Sequence[Path], part: Literal["train", "test", "all"]) -> list[Entry]:
    """The pictures of a part in folders, with what their ``INDEX.tsv`` says where they have one.

    Raises:
        LamdemoError: a folder is missing.
    """
    found = []
    for folder in folders:
        for path, category, source, words in pictures_in(folder, _ENDINGS, part):
            file = path.relative_to(folder).as_posix()
            found.append(Entry(path, f"{folder.name}/{file}", source or file, category, words or path.stem))
    return found


def _decoded(path: Path) -> np.ndarray:
    try:
        picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error) as error:
        raise LamdemoError(f"{path.name} cannot be read; mend or remove it.") from error
    if picture is None or picture.dtype != np.uint8:
        raise LamdemoError(f"{path.name} is no picture of 8 bits a channel; mend or remove it.")
    return picture


def to_linear(picture: np.ndarray) -> np.ndarray:
    """Linear light, float32 in [0, 1], of sRGB uint8."""
    value = np.arange(256) / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)[picture]


def to_srgb(light: np.ndarray) -> np.ndarray:
    """SRGB uint8 of linear light, which is clipped to [0, 1]."""
    light = light.clip(0, 1)
    value = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (255 * value).round().astype(np.uint8)


@lru_cache(maxsize=64)
def read_background(entry: Entry) -> np.ndarray:
    """Linear light of a background, float32 ``[H, W, 3]``."""
    picture = _decoded(entry.path)
    if picture.ndim == 2:
        picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    return to_linear(np.ascontiguousarray(picture[..., 2::-1]))


@lru_cache(maxsize=64)
def read_cutout(entry: Entry) -> Cutout | None:
    """A cut-out, cropped to what can be seen of it; None where it has no alpha, or is too small or thin to be seen."""
    picture = _decoded(entry.path)
    if picture.ndim != 3 or picture.shape[2] != 4:
        return None
    rows, columns = (np.flatnonzero((picture[..., 3] > 24).any(axis)) for axis in (1, 0))
    if len(rows) < 2 or len(columns) < 2:
        return None
    seen = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = seen.shape[:2]
    filled = (seen[..., 3] > 128).mean()
    if min(height, width) < _LEAST_SIDE or max(height, width) > 4 * min(height, width) or filled < 0.25:
        return None
    alpha = seen[..., 3:].astype(np.float32) / 255
    patch = np.concatenate([to_linear(np.ascontiguousarray(seen[..., 2::-1])) * alpha, alpha], -1)
    levels = [np.pad(patch, ((_RIM, _RIM), (_RIM, _RIM), (0, 0)))]
    while min(levels[-1].shape[:2]) > 2 * _LEAST_SIDE:
        h, w = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA))
    return Cutout(entry, tuple(levels))


class Bank:
    """Cut-outs and backgrounds, and fair draws of them."""

    def __init__(self, things: Sequence[Entry], backgrounds: Sequence[Entry]) -> None:
        """Args: entries of cut-outs and of backgrounds, of the part that may be used.

        Raises:
            LamdemoError: there are too few for a source and a target that differ.
        """
        if len(things) < 4 or len(backgrounds) < 2:
            raise LamdemoError(
                f"Cases by the other hand need four cut-outs and two backgrounds at least, of the chosen part; there "
                f"are {len(things)} and {len(backgrounds)}."
            )
        self.things, self.backgrounds = list(things), list(backgrounds)

    def thing(self, rng: np.random.Generator, *, alive: bool = False, unlike: Sequence[Entry] = ()) -> Cutout:
        """Draw a cut-out.

        Args:
            rng: source of randomness.
            alive: people and animals only, where there are any.
            unlike: none of these, nor a drawing of the same.

        Raises:
            LamdemoError: no cut-out was found that can be used.
        """
        known = {e.category for e in self.things}
        kinds = {"people", "animals"} & known if alive else known
        chosen = [e for e in self.things if e.category in kinds] if kinds else self.things
        photographed, drawn = ([e for e in chosen if e.drawn == d] for d in (False, True))
        for _ in range(200):
            pool = drawn if drawn and (not photographed or rng.random() < _DRAWN) else photographed
            entry = pool[rng.integers(len(pool))]
            if any(entry.path == u.path or (entry.drawn and entry.words == u.words) for u in unlike):
                continue
            cutout = read_cutout(entry)
            if cutout is not None:
                return cutout
        raise LamdemoError("No cut-out was found that can be used; give more, with alpha, 24 pixels or larger.")

    def background(self, rng: np.random.Generator, *, unlike: Entry | None = None) -> Entry:
        """Draw a background of another source than one."""
        for _ in range(200):
            entry = self.backgrounds[rng.integers(len(self.backgrounds))]
            if unlike is None or entry.source != unlike.source:
                return entry
        raise LamdemoError("All backgrounds are of one source; give some of others.")
