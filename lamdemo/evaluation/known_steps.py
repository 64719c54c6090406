"""Steps whose action is known: of procedural scenes, and of clips with recorded commands or poses."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from lamdemo.core.errors import LamdemoError
from lamdemo.data.known_actions import POSE, IndexedClip, read_known_actions
from lamdemo.data.scenes import (
    Kind,
    Photographs,
    SceneConfig,
    Script,
    camera_velocity,
    draw_cast,
    rendered,
    write_script,
)
from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.clips import recording_of
from lamdemo.evaluation.encoding import latents_of
from lamdemo.evaluation.prefetch import prefetch
from lamdemo.evaluation.scenes import photographs
from lamdemo.video import probe, read_clip

STEPS = 12  # of a window of a real clip
# Which command a latent is compared with: how many steps it lies back, and over how many it is averaged.
LAGS: dict[str, tuple[int, int]] = {
    "now": (0, 1),
    "one_earlier": (1, 1),
    "two_earlier": (2, 1),
    "mean_of_two": (0, 2),
    "mean_of_three": (0, 3),
    "mean_of_two_earlier": (1, 2),
}
SCENE_STEPS = 4
SCENE_KINDS: tuple[Kind, ...] = ("pan", "zoom", "roll", "move")
# Columns of a scene's known action, and the kind of scene each belongs to.
_SCENE_COLUMNS = ("pan_x", "pan_y", "zoom", "roll", "move_x", "move_y")
_SCENE_TARGETS: dict[str, tuple[str, ...]] = {
    "pan": ("pan_x", "pan_y"),
    "zoom": ("zoom",),
    "roll": ("roll",),
    "move": ("move_x", "move_y"),
    "pan_x": ("pan_x",),
    "pan_y": ("pan_y",),
    "move_x": ("move_x",),
    "move_y": ("move_y",),
}
_BLOCKS = 4  # of the pooled differences, along each side
_TESTED_WINDOWS = 2  # of one clip on the side that is judged
_PREFETCHED = 8


@dataclass
class Examples:
    """Steps whose action is known."""

    columns: tuple[str, ...]  # names of the actions' columns, A of them
    targets: dict[str, tuple[str, ...]]  # what is reported, by name: some of the columns, judged together
    known: dict[str, np.ndarray]  # by lag, [n, A]
    recordings: np.ndarray  # [n], names
    parts: np.ndarray  # [n], the part of the split each step is of
    kinds: np.ndarray  # [n], kind of scene; empty strings for real clips
    latents: dict[str, np.ndarray] = field(default_factory=dict)  # by checkpoint, [n, Z]
    # By encoder (number of its group) and name, [n, n].
    grams: list[dict[str, np.ndarray]] = field(default_factory=list)


class Encoded:
    """Collects latents and feature differences of clips, each encoded once for all that share an encoder."""

    def __init__(self, pipelines: Mapping[str, TransferPipeline], groups: Sequence[Sequence[str]]) -> None:
        self.pipelines, self.groups = pipelines, groups
        self.latents: dict[str, list[np.ndarray]] = {name: [] for name in pipelines}
        self.whole: list[list[Tensor]] = [[] for _ in groups]
        self.pooled: list[list[Tensor]] = [[] for _ in groups]

    def add(self, frames: np.ndarray, rows: np.ndarray) -> None:
        """Take the steps ``rows`` of frames ``[T, H, W, 3]``."""
        chosen = torch.from_numpy(rows)
        for i, group in enumerate(self.groups):
            states = self.pipelines[group[0]].encode(frames).float()
            for name in group:
                self.latents[name].append(latents_of(self.pipelines[name], states)[rows])
            change = (states[1:] - states[:-1]).cpu()[chosen]
            side = math.isqrt(change.shape[1])
            grid = change.transpose(1, 2).unflatten(-1, (side, side))
            self.pooled[i].append(F.adaptive_avg_pool2d(grid, _BLOCKS).flatten(1))
            # Half precision: thousands of steps of all cells are held at once.
            self.whole[i].append(change.flatten(1).half())

    def finish(self, examples: Examples) -> Examples:
        """Hand over what was collected."""
        examples.latents = {name: np.concatenate(z) for name, z in self.latents.items()}
        for whole, pooled in zip(self.whole, self.pooled, strict=True):
            examples.grams.append({"difference": _gram(torch.cat(whole)), "pooled": _gram(torch.cat(pooled))})
        self.whole, self.pooled = [], []
        return examples


def _gram(rows: Tensor) -> np.ndarray:
    total = torch.zeros(len(rows), len(rows))
    for piece in rows.split(4096, 1):
        wide = piece.float()
        total += wide @ wide.T
    return total.numpy()


def scene_examples(
    pipelines: Mapping[str, TransferPipeline],
    groups: Sequence[Sequence[str]],
    photos: Path | None,
    counts: tuple[int, int],
    seed: int,
) -> tuple[Examples, dict[str, int]]:
    """Steps of procedural scenes; those judged are of other photographs than those fitted on."""
    pictures = photographs(photos, 4, "Probing scenes needs").pictures
    order = np.random.default_rng([seed, 2]).permutation(len(pictures))
    third = max(len(pictures) // 3, 2)
    banks = {"test": Photographs(pictures[order[:third]]), "train": Photographs(pictures[order[third:]])}
    size = max(p.model.config.encoder.picture for p in pipelines.values())
    encoded = Encoded(pipelines, groups)
    plan = [(part, i) for part, n in zip(("train", "test"), counts, strict=True) for i in range(n)]

    def draw(item: tuple[str, int]) -> tuple[Script, np.ndarray]:
        part, i = item
        rng = np.random.default_rng([seed, 3, i, part == "test"])
        script = write_script(rng, SCENE_STEPS + 1, SceneConfig(), SCENE_KINDS[i % len(SCENE_KINDS)])
        return script, rendered(script, draw_cast(rng, script, len(banks[part])), banks[part], size)

    known, kinds = [], []
    loaded = prefetch(draw, plan, most=4, workers=1)
    for _, (script, frames) in tqdm(loaded, total=len(plan), desc="encoding scenes", disable=None):
        encoded.add(frames, np.arange(SCENE_STEPS))
        known.append(camera_velocity(script))
        kinds.append(script.kind)
    examples = Examples(
        _SCENE_COLUMNS,
        _SCENE_TARGETS,
        {"now": np.concatenate(known)},
        np.repeat([f"{part} {i:04d}" for part, i in plan], SCENE_STEPS),
        np.repeat([part for part, _ in plan], SCENE_STEPS),
        np.repeat(kinds, SCENE_STEPS),
    )
    counted = {"photographs_fitted": len(banks["train"]), "photographs_judged": len(banks["test"])}
    return encoded.finish(examples), counted


@dataclass(frozen=True)
class Stretch:
    """A window of a clip: its first frame and the frames a step takes."""

    clip: IndexedClip
    part: str
    first: int
    stride: int
    fps: float


def plan_stretches(
    folder: Path, clips: Sequence[tuple[IndexedClip, str]], tested: str, fps: float, seed: int
) -> tuple[list[Stretch], list[dict[str, str]]]:
    """Windows of clips (with their parts), spread over each clip; and what was left out."""
    planned, skipped = [], []
    for clip, part in clips:
        try:
            info = probe(folder / clip.clip)
        except LamdemoError:
            skipped.append({"clip": clip.clip, "why": "cannot be read"})
            continue
        rate = info.fps or fps
        stride = max(round(rate / fps), 1)
        # The widest lag must lie inside the clip as well.
        lead = stride * max(back + wide - 1 for back, wide in LAGS.values())
        span = stride * STEPS + 1
        room = int(info.seconds * rate + 1e-6) - lead
        count = min(_TESTED_WINDOWS if part == tested else 1, room // span)
        if count < 1:
            skipped.append({"clip": clip.clip, "why": "too short"})
            continue
        rng = np.random.default_rng([seed, zlib.crc32(clip.clip.encode())])
        each = room // count
        for k in range(count):
            first = lead + k * each + int(rng.integers(each - span + 1))
            planned.append(Stretch(clip, part, first, stride, rate))
    return planned, skipped


def targets_of(columns: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """What is reported of a table's columns."""
    if columns[:1] == ("steering",):
        return {c: (c,) for c in columns}
    if columns[: len(POSE)] == POSE:
        return {"translation": POSE[:3], "rotation": POSE[3:6], "gripper": POSE[6:], "travel": ("travel",)}
    parts = {"joints": columns}
    for name, word in (("left", "left"), ("right", "right")):
        some = tuple(c for c in columns if word in c.lower())
        if some:
            parts[name] = some
    return parts


def clip_examples(
    pipelines: Mapping[str, TransferPipeline],
    groups: Sequence[Sequence[str]],
    folder: Path,
    stretches: Sequence[Stretch],
    name: str,
    skipped: list[dict[str, str]],
) -> Examples | None:
    """Steps of real clips, with every lag of their actions; None where there are none."""
    if not stretches:
        return None
    side = max(p.model.config.encoder.picture for p in pipelines.values())
    tables = {s.clip.clip: read_known_actions(folder, s.clip) for s in stretches}
    columns = next(iter(tables.values())).names
    if any(t.names != columns for t in tables.values()):
        raise LamdemoError(f"The actions of the clips in {name} are not of one kind; mend the index.")

    def read(s: Stretch) -> np.ndarray | None:
        try:
            # A quarter of a frame later than it begins, so that rounding never shows the one before.
            frames = read_clip(
                folder / s.clip.clip,
                start=(s.first + 0.25) / s.fps,
                max_frames=s.stride * STEPS + 1,
                size=(side, side),
            ).frames
        except LamdemoError:
            return None
        return frames[:: s.stride] if len(frames) == s.stride * STEPS + 1 else None

    encoded = Encoded(pipelines, groups)
    lags = {"now": LAGS["now"]} if next(iter(tables.values())).adds else LAGS
    known: dict[str, list[np.ndarray]] = {lag: [] for lag in lags}
    recordings: list[str] = []
    parts: list[str] = []
    loaded = prefetch(read, stretches, most=_PREFETCHED)
    for s, frames in tqdm(loaded, total=len(stretches), desc=f"encoding {name}", disable=None):
        if frames is None:
            skipped.append({"clip": s.clip.clip, "why": "cannot be read to where it should reach"})
            continue
        at = s.first + s.stride * np.arange(STEPS + 1.0)
        table = tables[s.clip.clip]
        done = {}
        for lag, (back, wide) in lags.items():
            done[lag] = table.over(at[:-1] - s.stride * (back + wide - 1), at[1:] - s.stride * back)
        whole = np.flatnonzero(np.isfinite(np.stack(list(done.values()))).all((0, 2)))
        if not len(whole):
            continue
        encoded.add(frames, whole)
        for lag, rows in done.items():
            known[lag].append(rows[whole])
        recordings += [recording_of(s.clip.clip)] * len(whole)
        parts += [s.part] * len(whole)
    if not recordings:
        return None
    joined = {lag: np.concatenate(rows) for lag, rows in known.items()}
    if columns == POSE:
        # How far the hand went is known from any side; where to is not.
        joined = {lag: np.column_stack([k, np.linalg.norm(k[:, :3], axis=1)]) for lag, k in joined.items()}
        columns = (*POSE, "travel")
    return encoded.finish(
        Examples(columns, targets_of(columns), joined, np.array(recordings), np.array(parts), np.full(len(parts), ""))
    )
