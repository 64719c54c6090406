"""An atlas: thousands of latent actions, where each was seen, and where it lies on a map.

The file (``atlas.safetensors`` in a checkpoint's folder) holds M steps of R recordings with F thumbnails:

=================  =================  ====================================================================
tensor             type, shape        meaning
=================  =================  ====================================================================
latents            float16 [M, Z]     the steps, recording by recording, in the order of time
recording          int32 [M]          which recording, ascending
step               int32 [M]          which step of its recording, ascending
seconds            float32 [M]        when the step begins in its recording
frame              int32 [M]          thumbnail of its first frame; the second is the next one
kind               int16 [M]          known kind of action, -1 where there is none
known              float32 [K, M]     known amounts, NaN where not known
cluster            int16 [M]          group of similar steps, -1 for none
density            float32 [M]        rank of the distance to the 8th nearest step of other recordings, from 0
                                      (farthest) to 1 (nearest)
umap2, umap3       float32 [M, 2|3]   places on the map, where it was built with umap-learn
sheets             uint8 [bytes]      JPEG files one after another, each of 16 x 16 thumbnails, row by row
sheet_ends         int64 [sheets]     where each of them ends
directions.*       any                named directions, see `lamdemo.latent_space.directions`
=================  =================  ====================================================================

Its metadata has one key, "lamdemo": JSON with ``format``, ``checkpoint`` (SHA-256 of the weights), ``family``,
``name``, ``recordings`` (name, part, credit and frames a second of each), ``kinds``, ``known`` (names of the K
rows), ``thumb`` (width and height), ``directions`` (what they say about themselves, or null) and ``built`` (how
it was made), and ``plays``, false, where the model only reads latents. One key only, since safetensors writes several
in any order and an atlas made twice must be the same file. The PCA is not in the file: it follows from the latents.

Nothing in it is trusted: every shape, index and number is checked when it is read, and a sheet is decoded when
one of its thumbnails is wanted, after its own header was found to say the size it must have.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from scipy.spatial.distance import cdist

from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import write_safely
from lamdemo.core.tensors import stored_tensors
from lamdemo.engine import Inference
from lamdemo.latent_space.directions import Directions
from lamdemo.latent_space.projection import Principal, place_between, smallest
from lamdemo.latent_space.thumbnails import SHEET, THUMB, Sheets, join_sheets, jpeg_size, split_sheets

ATLAS_NAME = "atlas.safetensors"
FORMAT = "lamdemo-atlas/1"
PROJECTIONS = {"pca2": 2, "pca3": 3, "umap2": 2, "umap3": 3}
PLACED_BY = 15  # nearest latents that place a new one on a UMAP map

_MAX_BYTES = 1 << 30
_MAX_THUMB = 256
_MAX_TEXT = 2000  # characters of a name or a credit
_ROWS = 256  # queries compared at once
_DAMAGED = (SafetensorError, OSError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError)


@dataclass(frozen=True)
class Recording:
    """Where steps come from."""

    name: str  # of a clip (its path in its folder) or a scene
    part: str  # "scenes", "clips", or the folder that the clip is in
    credit: str  # whose work it shows and under which licence; empty where that is not known
    fps: float  # steps a second


@dataclass(frozen=True, eq=False)
class Atlas:
    """Latent actions of many recordings of one checkpoint, with all that is known of them.

    Raises:
        ValueError: the arrays do not fit each other, or hold what they cannot hold.
    """

    checkpoint: str  # SHA-256 of the weights they belong to
    family: str  # of that checkpoint, see `ModelConfig.family`
    name: str  # of that checkpoint
    latents: np.ndarray  # float32 [M, Z], rounded to half precision, as the file keeps them
    recording: np.ndarray  # int32 [M], index in `recordings`, ascending
    step: np.ndarray  # int32 [M], index in its recording, ascending there. Steps may be missing
    seconds: np.ndarray  # float32 [M], when the step begins in its recording
    # int32 [M], thumbnail of the step's first frame; `frame + 1` is that of its second. A recording's thumbnails
    # stand together: `frame - step` is the same for all its steps.
    frame: np.ndarray
    recordings: tuple[Recording, ...]  # what they are
    kinds: tuple[str, ...]  # names of kinds of action
    kind: np.ndarray  # int16 [M], index in `kinds`, -1 where it is not known
    # Known amounts by name, float32 [M], NaN where not known. Of the camera, a step each: "pan right" and "pan down"
    # (in widths of the picture: the camera moves, what is seen moves the other way), "zoom in" (logarithm of the
    # growth of what is seen) and "roll clockwise" (radians; what is seen turns the other way). "steering" and
    # "throttle" of a car, as its index gives them.
    known: Mapping[str, np.ndarray]
    # float32 [M, 2] or [M, 3] by projection: "pca2", "pca3", and where built "umap2", "umap3".
    coordinates: Mapping[str, np.ndarray]
    cluster: np.ndarray  # int16 [M], -1 for none
    density: np.ndarray  # float32 [M], from 0 (far from the steps of all other recordings) to 1 (in the thick of them)
    # JPEG files of 16 x 16 thumbnails each: thumbnail f is in sheet `f // 256`, at `f % 256` row by row.
    sheets: tuple[bytes, ...]
    directions: Directions | None = None  # of the space, with names; None where they were not sought
    thumb: tuple[int, int] = THUMB  # width and height of a thumbnail, in pixels
    built: Mapping[str, Any] = field(default_factory=dict)  # how it was made
    plays: bool = True  # whether the model can carry actions out; one of others only read them

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        for name, kind in _TYPES.items():
            put(name, _of_type(name, getattr(self, name), kind))
        with np.errstate(over="ignore"):
            # As the file keeps them, so that an atlas that was read is the one that was saved.
            put("latents", self.latents.astype(np.float16).astype(np.float32))
        put("known", {str(k): _of_type(str(k), v, np.float32) for k, v in self.known.items()})
        given = {k: _of_type(k, v, np.float32) for k, v in self.coordinates.items()}
        _check(self, given)
        for d in (2, 3):
            given.setdefault(f"pca{d}", self.principal.place(self.latents, d))
        put("coordinates", {name: given[name] for name in PROJECTIONS if name in given})

    def __len__(self) -> int:
        """Number of steps ``M``."""
        return len(self.latents)

    @property
    def channels(self) -> int:
        """Width ``Z`` of the latents."""
        return int(self.latents.shape[1])

    @functools.cached_property
    def size(self) -> np.ndarray:
        """How much happens in each step: the latent's norm, float32 ``[M]``. Zero is nothing."""
        return np.linalg.norm(self.latents, axis=1)

    @functools.cached_property
    def principal(self) -> Principal:
        """Principal axes of the latents."""
        return Principal.fit(self.latents)

    @functools.cached_property
    def _first(self) -> np.ndarray:
        """The first step of each recording that has any, int64, ascending."""
        return np.flatnonzero(np.diff(self.recording, prepend=-1))

    def check(self, pipeline: Inference) -> None:
        """Make sure that this atlas is of a pipeline's checkpoint.

        Raises:
            LamdemoError: it is of another one, or of a model that only reads latents.
        """
        if not self.plays:
            raise LamdemoError(
                f"This map is of {self.name[:80]}, which only reads latents; its points are looked at and not played."
            )
        other = self.checkpoint and pipeline.checkpoint and self.checkpoint != pipeline.checkpoint
        if other or self.channels != pipeline.model.config.bottleneck.channels:
            raise LamdemoError(
                "This atlas was made with another checkpoint; choose that one, or make an atlas of this one with "
                "`lamdemo atlas`."
            )

    # The space.

    def nearest(
        self,
        z: np.ndarray,
        count: int,
        *,
        other_than: int | Sequence[int] | None = None,
        one_each: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The steps nearest to latents.

        Args:
            z: one latent ``[Z]`` or several ``[Q, Z]``.
            count: how many steps of each; fewer come where there are not so many.
            other_than: a recording, or several, to leave out.
            one_each: at most one step, the nearest, of each recording.

        Returns:
            Their indices int64 and distances float32, ``[count]`` or ``[Q, count]``, the nearest first.

        Raises:
            LamdemoError: the latents are of another width, or not finite.
        """
        queries = self._queries(z)
        left_out = np.isin(self.recording, np.atleast_1d(np.asarray([] if other_than is None else other_than)))
        firsts = self._first
        groups = firsts[~left_out[firsts]]
        some = max(min(count, len(groups) if one_each else int((~left_out).sum())), 0)
        indices = np.zeros((len(queries), some), np.int64)
        if some:
            lasts = np.append(firsts[1:], len(self))
            for start in range(0, len(queries), _ROWS):
                squared = cdist(queries[start : start + _ROWS], self.latents, "sqeuclidean")
                squared[:, left_out] = np.inf
                if not one_each:
                    indices[start : start + _ROWS] = smallest(squared, some)
                    continue
                chosen = smallest(np.minimum.reduceat(squared, firsts, axis=1), some)
                for q, row in enumerate(chosen):
                    indices[start + q] = [firsts[r] + squared[q, firsts[r] : lasts[r]].argmin() for r in row]
        # Anew, without the rounding of a difference of large squares.
        distances = np.linalg.norm(self.latents[indices] - queries[:, None], axis=-1)
        return (indices[0], distances[0]) if np.ndim(z) == 1 else (indices, distances)

    def mean(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The mean latent float32 ``[Z]`` of some steps; see `checked`."""
        return self.latents[self.checked(indices)].mean(0)

    def checked(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Indices of steps as int64 ``[N]``, if they are such.

        Raises:
            LamdemoError: there is none, or one that is not in the atlas.
        """
        try:
            found = np.asarray(indices)
        except (ValueError, OverflowError):
            found = np.zeros(1, object)
        if found.ndim == 1 and not found.size:
            raise LamdemoError("The selection is empty; draw around some points.")
        if found.ndim != 1 or found.dtype.kind not in "iu" or (found >= len(self)).any() or (found < 0).any():
            raise LamdemoError("The selection names points that this atlas does not have; select them anew.")
        return found.astype(np.int64)

    def place(self, z: np.ndarray, projection: str) -> np.ndarray:
        """Where latents fall on a map, float32 ``[S, 2]`` or ``[S, 3]``.

        On a PCA exactly. On a UMAP among the nearest steps of the atlas, by UMAP's own weights: close to what is
        alike, while what is like nothing in the atlas still falls somewhere among its points.

        Args:
            z: ``[S, Z]``.
            projection: one of ``coordinates``.

        Raises:
            LamdemoError: the latents are of another width or not finite, or there is no such projection.
        """
        if projection not in self.coordinates:
            raise LamdemoError(
                f"This atlas has no map {str(projection)[:20]!r}; choose one of {', '.join(self.coordinates)}."
            )
        if np.ndim(z) == 2 and not len(z):
            return np.zeros((0, PROJECTIONS[projection]), np.float32)
        queries = self._queries(z)
        if projection.startswith("pca"):
            return self.principal.place(queries, PROJECTIONS[projection])
        indices, distances = self.nearest(queries, PLACED_BY, one_each=False)
        return place_between(distances, self.coordinates[projection][indices])

    def _queries(self, z: np.ndarray) -> np.ndarray:
        """Latents as float64 ``[Q, Z]``."""
        queries = np.atleast_2d(np.asarray(z, np.float64))
        if queries.ndim != 2:
            raise LamdemoError("Latent actions are a list of numbers, or a table of such lists; give one of these.")
        if queries.shape[1] != self.channels:
            raise LamdemoError(
                f"These latent actions have {queries.shape[-1]} channels and this atlas' have {self.channels}; use "
                "the checkpoint they were made with."
            )
        if not np.isfinite(queries).all():
            raise LamdemoError("These latent actions hold numbers that are not finite; infer them anew.")
        return queries

    # Thumbnails.

    @functools.cached_property
    def _sheets(self) -> Sheets:
        return Sheets(self.sheets, self.thumb)

    def thumbnail(self, frame: int) -> np.ndarray:
        """A thumbnail, uint8 ``[height, width, 3]``.

        Raises:
            LamdemoError: there is none of that number, or its sheet is damaged.
        """
        return self._sheets.thumbnail(frame)

    def frames_of(self, index: int, around: int = 2) -> list[int]:
        """Thumbnails of a step and of what came before and after it in its recording, in the order of time.

        Args:
            index: of the step.
            around: how many more frames before its first and after its second.

        Raises:
            LamdemoError: there is no such step.
        """
        (i,) = self.checked([index])
        of = self.frame[self.recording == self.recording[i]]
        around = max(int(around), 0)
        first, last = max(int(self.frame[i]) - around, int(of.min())), int(self.frame[i]) + 1 + around
        last = min(last, int(of.max()) + 1)
        return list(range(first, last + 1))

    # The file.

    def to_bytes(self) -> bytes:
        """The file's contents; the same atlas gives the same bytes."""
        tensors = {name: getattr(self, name) for name in _TYPES}
        tensors["latents"] = self.latents.astype(np.float16)
        tensors["known"] = np.array(list(self.known.values()), np.float32).reshape(len(self.known), len(self))
        tensors |= {k: v for k, v in self.coordinates.items() if not k.startswith("pca")}
        tensors["sheets"], tensors["sheet_ends"] = join_sheets(self.sheets)
        of_directions, told = ({}, None) if self.directions is None else self.directions.to_tensors()
        tensors |= {f"directions.{k}": v for k, v in of_directions.items()}
        about = {
            "format": FORMAT,
            "checkpoint": self.checkpoint,
            "family": self.family,
            "name": self.name,
            "recordings": [[r.name, r.part, r.credit, r.fps] for r in self.recordings],
            "kinds": self.kinds,
            "known": list(self.known),
            "thumb": self.thumb,
            "directions": told,
            "built": dict(self.built),
            **({} if self.plays else {"plays": False}),
        }
        metadata = {"lamdemo": json.dumps(about, ensure_ascii=False, separators=(",", ":"))}
        return save({k: np.ascontiguousarray(v) for k, v in sorted(tensors.items())}, metadata=metadata)

    def save(self, path: str | Path) -> Path:
        """Write the file, whole or not at all; a LamdemoError says why it cannot be written."""
        path = Path(path)
        try:
            write_safely(path, self.to_bytes())
        except OSError as error:
            reason = error.strerror or "unknown reason"
            raise LamdemoError(f"{path.name} cannot be written: {reason}; choose another place.") from error
        return path

    @classmethod
    def load(cls, path: str | Path) -> Atlas:
        """Read what `save` wrote.

        Raises:
            LamdemoError: there is no such file, or it is no atlas, damaged, or of a later version.
        """
        path = Path(path)
        if not path.is_file():
            raise LamdemoError(f"There is no atlas {path.name}; make one with `lamdemo atlas`.")
        try:
            stored_tensors(path, most=_MAX_BYTES)
            with safe_open(path, framework="numpy") as file:
                about = json.loads((file.metadata() or {})["lamdemo"])
                tag = about["format"]
                if not isinstance(tag, str) or not tag.startswith(FORMAT.partition("/")[0] + "/"):
                    raise ValueError("not of this format")
                tensors = {key: file.get_tensor(key) for key in file.keys()} if tag == FORMAT else {}
            if tag == FORMAT:
                return _from_file(about, tensors)
        except _DAMAGED as error:
            raise LamdemoError(
                f"{path.name} is no atlas, or was cut short; give one that `lamdemo atlas` wrote."
            ) from error
        raise LamdemoError(f"{path.name} is an atlas of another version of lamdemo; use that one, or make it anew.")

    @classmethod
    def read(cls, folder: str | Path) -> Atlas | None:
        """The atlas in a checkpoint's folder, or None where there is none; see `load` and `check`."""
        path = Path(folder) / ATLAS_NAME
        return cls.load(path) if path.is_file() else None


_TYPES: dict[str, type] = {
    "latents": np.float32,
    "recording": np.int32,
    "step": np.int32,
    "seconds": np.float32,
    "frame": np.int32,
    "kind": np.int16,
    "cluster": np.int16,
    "density": np.float32,
}


def _of_type(name: str, value: np.ndarray, wanted: type) -> np.ndarray:
    """An array as float32 or as whole numbers, if nothing is lost but digits."""
    array = np.asarray(value)
    if np.issubdtype(wanted, np.floating):
        fits = array.dtype.kind in "fiu"
    else:
        limits = np.iinfo(wanted)
        fits = array.dtype.kind in "iu" and bool(((array >= limits.min) & (array <= limits.max)).all())
    if not fits:
        raise ValueError(f"{name} must be numbers of {np.dtype(wanted)}, not {array.dtype}")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, wanted)


def _check(atlas: Atlas, coordinates: Mapping[str, np.ndarray]) -> None:
    """Refuse what no atlas can be.

    Raises:
        ValueError: says what.
    """

    def require(holds: object, words: str) -> None:
        if not holds:
            raise ValueError(words)

    latents, recording, step, frame = atlas.latents, atlas.recording, atlas.step, atlas.frame
    require(latents.ndim == 2 and latents.size and np.isfinite(latents).all(), "latents must be finite and [M, Z]")
    m = len(latents)
    for name in ("recording", "step", "seconds", "frame", "kind", "cluster", "density"):
        require(getattr(atlas, name).shape == (m,), f"{name} must be [{m}]")
    require(recording[0] >= 0 and recording[-1] < len(atlas.recordings), "recording is out of range")
    change = np.diff(recording)
    require((change >= 0).all(), "recording must ascend")
    inside = change == 0
    require(step.min() >= 0 and (np.diff(step)[inside] > 0).all(), "step must ascend in a recording")
    require((np.diff(frame.astype(np.int64) - step)[inside] == 0).all(), "frames of a recording must stand together")
    thumbnails = len(atlas.sheets) * SHEET**2
    require(frame.min() >= 0 and int(frame.max()) + 1 < thumbnails, "frame is out of range")
    require(np.isfinite(atlas.seconds).all() and atlas.seconds.min() >= 0, "seconds must be 0 or more")
    require(atlas.kind.min() >= -1 and atlas.kind.max() < len(atlas.kinds), "kind is out of range")
    require(atlas.cluster.min() >= -1, "cluster is out of range")
    require(((atlas.density >= 0) & (atlas.density <= 1)).all(), "density must be from 0 to 1")
    for name, values in atlas.known.items():
        require(values.shape == (m,) and not np.isinf(values).any(), f"{name} must be [{m}] and finite or NaN")
    for name, places in coordinates.items():
        require(places.shape == (m, PROJECTIONS.get(name)), f"there is no map {name} of such a shape")
        require(np.isfinite(places).all(), f"{name} must be finite")
    texts = [atlas.checkpoint, atlas.family, atlas.name, *atlas.kinds, *atlas.known]
    for r in atlas.recordings:
        texts += [r.name, r.part, r.credit]
        require(isinstance(r.fps, int | float) and 0 < r.fps < math.inf, "fps must be above 0")
    require(all(isinstance(t, str) and len(t) <= _MAX_TEXT and t.isprintable() for t in texts), "texts must be short")
    w, h = atlas.thumb
    require(all(isinstance(s, int) and 8 <= s <= _MAX_THUMB for s in (w, h)), "thumb is out of range")
    for sheet in atlas.sheets:
        require(jpeg_size(sheet) == (SHEET * w, SHEET * h), "a sheet is not of 16 by 16 thumbnails")
    if atlas.directions is not None:
        atlas.directions.check(atlas.channels, m)


def _from_file(about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Atlas:
    """An atlas from what its file says.

    Raises:
        ValueError, TypeError, LookupError: it says something impossible.
    """
    names = about["known"]
    known = tensors["known"]
    if known.shape != (len(names), len(tensors["latents"])) or len(set(names)) != len(names):
        raise ValueError("known does not fit its names")
    directions = None
    if about["directions"] is not None:
        prefix = "directions."
        of_directions = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        directions = Directions.from_tensors(of_directions, about["directions"])
    width, height = about["thumb"]
    return Atlas(
        checkpoint=about["checkpoint"],
        family=about["family"],
        name=about["name"],
        recordings=tuple(Recording(name, part, credit, fps) for name, part, credit, fps in about["recordings"]),
        kinds=tuple(about["kinds"]),
        known=dict(zip(names, known, strict=True)),
        coordinates={k: tensors[k] for k in ("umap2", "umap3") if k in tensors},
        sheets=split_sheets(tensors["sheets"], tensors["sheet_ends"]),
        directions=directions,
        thumb=(width, height),
        built=dict(about["built"]),
        plays=about.get("plays", True) is True,
        **{name: tensors[name] for name in _TYPES},
    )
