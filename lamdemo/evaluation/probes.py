"""How much of a known action can be read from a latent (paper, section 4: what z means).

A *probe* is a map from one latent ``z[t]`` to what is known to have been done from frame t to t + 1: the camera's
and a thing's velocity in procedural scenes, steering and throttle of a car, changes of a robot's pose. It is
fitted on some recordings and judged on others. Beside the latent stand

``difference``
    the change of the encoder's features, ``s[t+1] - s[t]``, all cells: its leading 128 principal components on
    the probe's training side.
``pooled``
    the same, averaged over 4 by 4 blocks of the picture first.
``z_shuffled``
    the latent, with the targets of the training side shuffled: what chance gives.
``mean``
    the mean of the training side's targets, always: about 0 by the definition of R².

Two maps: ``linear`` is a ridge regression whose strength is chosen by cross-validation over recordings of the
training side; ``mlp`` has one hidden layer and is stopped by recordings of the training side held back.

Commands act with a delay that nobody wrote down. Each is therefore fitted with several lags (`LAGS`), and
the one that the linear map reads best in cross-validation on the training side is judged; ``linear_now`` is the
linear map without a lag.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from lamdemo.data.known_actions import POSE, IndexedClip, find_known_actions, read_known_actions
from lamdemo.data.scenes import Cast, Kind, Photographs, SceneConfig, Script, draw_cast, render, write_script
from lamdemo.data.splits import Part, Split
from lamdemo.data.videos import photographs_in
from lamdemo.errors import LamdemoError
from lamdemo.evaluation.ahead import ahead
from lamdemo.evaluation.cases import bundled_photographs
from lamdemo.evaluation.report import describe_files
from lamdemo.evaluation.statistics import DRAWS
from lamdemo.evaluation.together import latents_of, same_encoders
from lamdemo.evaluation.videos import recording_of
from lamdemo.pipeline import TransferPipeline
from lamdemo.video import find_videos, probe, read_clip

STEPS = 12  # of a window of a real clip
CLIPS = 96  # most training clips of a set of clips, without another number
COMPONENTS = 128
STRENGTHS = tuple(float(s) for s in np.logspace(-6, 2, 17))  # of the ridge, over the mean square of its inputs
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
TRAIN_SCENES, TEST_SCENES = 200, 80
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
_BANK = (576, 768)
_FOLDS = 3  # within one part: each third of its recordings is judged by what was fitted on the others
_INNER = 5  # of the cross-validation on a training side
_LEAST_RECORDINGS = 4  # on a training side
_PATIENCE = 8  # looks at the recordings held back without improvement, after which a network is stopped
_BLOCKS = 4  # of the pooled differences, along each side
_TESTED_WINDOWS = 2  # of one clip on the side that is judged
_AHEAD = 8


# Maps.


def _fold_of(recordings: np.ndarray, folds: int) -> np.ndarray:
    """A fold for each row: recordings in the order of their names, in blocks.

    Neighbours in name are neighbours in time on one track; a block keeps them together.
    """
    names, index = np.unique(recordings, return_inverse=True)
    return (np.arange(len(names)) * min(folds, len(names)) // len(names))[index]


@dataclass(frozen=True)
class Ridge:
    """A linear map with a strength of its own for each target.

    Attributes:
        centre, scale: of the inputs, ``[F]`` and one number.
        mean: of the targets, ``[A]``.
        weights: ``[F, A]``.
        strengths: ``[A]``.
        validated: ``[A]``, R² of the chosen strength in cross-validation over recordings.
    """

    centre: np.ndarray
    scale: float
    mean: np.ndarray
    weights: np.ndarray
    strengths: np.ndarray
    validated: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Targets ``[n, A]`` of inputs ``[n, F]``."""
        return (x - self.centre) / self.scale @ self.weights + self.mean


def fit_ridge(x: np.ndarray, y: np.ndarray, recordings: np.ndarray) -> Ridge:
    """Fit ``y`` ``[n, A]`` by ``x`` ``[n, F]``; strengths by cross-validation over ``recordings`` ``[n]``."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    centre = x.mean(0)
    # One scale for all inputs: a latent's idle channels must not be blown up to the size of the others.
    scale = float(np.sqrt(((x - centre) ** 2).mean())) or 1.0
    x = (x - centre) / scale

    def solve(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        mx, my = x[rows].mean(0), y[rows].mean(0)
        a, b = x[rows] - mx, y[rows] - my
        values, vectors = np.linalg.eigh(a.T @ a)
        return mx, my, values.clip(0), vectors, vectors.T @ (a.T @ b)

    def weights(values: np.ndarray, vectors: np.ndarray, right: np.ndarray, strength: float, n: int) -> np.ndarray:
        return vectors @ (right / (values + strength * n * x.shape[1])[:, None])

    fold = _fold_of(recordings, _INNER)
    errors = np.zeros((len(STRENGTHS), y.shape[1]))
    for k in np.unique(fold):
        out, rest = np.flatnonzero(fold == k), np.flatnonzero(fold != k)
        if not len(rest):  # a single recording: nothing to choose by
            continue
        mx, my, values, vectors, right = solve(rest)
        turned = (x[out] - mx) @ vectors
        for i, strength in enumerate(STRENGTHS):
            guess = turned @ (right / (values + strength * len(rest) * x.shape[1])[:, None]) + my
            errors[i] += ((guess - y[out]) ** 2).sum(0)
    best = errors.argmin(0)
    spread = ((y - y.mean(0)) ** 2).sum(0)
    mx, my, values, vectors, right = solve(np.arange(len(x)))
    columns = np.arange(y.shape[1])
    found = np.stack([weights(values, vectors, right[:, [c]], STRENGTHS[best[c]], len(x))[:, 0] for c in columns], 1)
    return Ridge(
        centre,
        scale,
        my - mx @ found,
        found,
        np.array(STRENGTHS)[best],
        1 - errors[best, columns] / np.maximum(spread, 1e-12),
    )


def fit_mlp(
    x: np.ndarray, y: np.ndarray, recordings: np.ndarray, seed: int, *, hidden: int = 64, rounds: int = 400
) -> Callable[[np.ndarray], np.ndarray]:
    """Fit ``y`` ``[n, A]`` by a map of one hidden layer; stopped by recordings held back."""
    centre = x.mean(0)
    scale = float(np.sqrt(((x - centre) ** 2).mean())) or 1.0
    mean, spread = y.mean(0), np.maximum(y.std(0), 1e-9)
    a = torch.from_numpy(((x - centre) / scale).astype(np.float32))
    b = torch.from_numpy(((y - mean) / spread).astype(np.float32))
    fold = _fold_of(recordings, _INNER)
    held = torch.from_numpy(np.flatnonzero(fold == seed % (fold.max() + 1)))
    kept = torch.from_numpy(np.flatnonzero(fold != seed % (fold.max() + 1)))
    if not len(kept):
        kept = held
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(a.shape[1], hidden), nn.SiLU(), nn.Dropout(0.2), nn.Linear(hidden, b.shape[1]))
        optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-2)
        best, state, since = math.inf, None, 0
        for step in range(rounds):
            net.train()
            loss = F.mse_loss(net(a[kept]), b[kept])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 10 == 9:
                net.eval()
                with torch.no_grad():
                    error = float(F.mse_loss(net(a[held]), b[held]))
                if error < best:
                    best, state, since = error, {k: v.clone() for k, v in net.state_dict().items()}, 0
                elif (since := since + 1) == _PATIENCE:
                    break
    if state is not None:
        net.load_state_dict(state)
    net.eval()

    @torch.no_grad()
    def apply(inputs: np.ndarray) -> np.ndarray:
        made = net(torch.from_numpy(((inputs - centre) / scale).astype(np.float32))).double().numpy()
        return made * spread + mean

    return apply


def components(gram: np.ndarray, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leading principal components of the training rows, and the test rows on the same axes.

    Args:
        gram: ``[n, n]``, dot products of all rows.
        train: indices ``[a]``.
        test: indices ``[b]``.

    Returns:
        ``[a, C]`` and ``[b, C]`` with C at most `COMPONENTS`.
    """
    inner = gram[np.ix_(train, train)].astype(np.float64)
    across = gram[np.ix_(test, train)].astype(np.float64)
    mean = inner.mean(0)
    centred = inner - mean - mean[:, None] + mean.mean()
    across = across - across.mean(1, keepdims=True) - mean + mean.mean()
    values, vectors = np.linalg.eigh(centred)
    values, vectors = values[::-1][:COMPONENTS], vectors[:, ::-1][:, :COMPONENTS]
    # A component of no variance has no direction.
    known = values > max(values[0], 0) * 1e-7
    values, vectors = values[known], vectors[:, known]
    if not len(values):
        return np.zeros((len(train), 1)), np.zeros((len(test), 1))
    return vectors * np.sqrt(values), across @ vectors / np.sqrt(values)


def r_squared(
    truth: np.ndarray, guess: np.ndarray, recordings: np.ndarray, *, seed: int = 0, draws: int = DRAWS
) -> dict[str, float | None]:
    """R² over all columns alike, with a 95% interval by bootstrap over recordings.

    Columns are brought to unit variance first, so that the value is the mean of the columns' R². Spread is
    taken about the mean of what is judged, which no probe has seen.

    Args:
        truth: ``[n, A]``.
        guess: ``[n, A]``.
        recordings: ``[n]``.
        seed: of the bootstrap.
        draws: how often to resample.

    Returns:
        ``value``, ``low``, ``high``; None where nothing varies, and no interval from a single recording.
    """
    spread = truth.std(0) if len(truth) else np.zeros(0)
    if not len(spread) or (spread < 1e-9).any():
        return {"value": None, "low": None, "high": None}
    truth, guess = (truth - truth.mean(0)) / spread, (guess - truth.mean(0)) / spread
    _, index = np.unique(recordings, return_inverse=True)
    count = int(index.max()) + 1

    def sums(values: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(index, c, count) for c in values.T], 1)  # [recordings, A]

    off, first, second = sums((truth - guess) ** 2), sums(truth), sums(truth**2)
    many = np.bincount(index, minlength=count)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    about = drawn @ second - (drawn @ first) ** 2 / (drawn @ many)[:, None]
    whole = about.sum(1)
    values = 1 - (drawn @ off).sum(1)[whole > 1e-9] / whole[whole > 1e-9]
    value = float(1 - off.sum() / len(truth) / truth.shape[1])
    if count < 2 or not len(values):
        return {"value": value, "low": None, "high": None}
    low, high = np.percentile(values, (2.5, 97.5))
    return {"value": value, "low": float(low), "high": float(high)}


# What is probed.


@dataclass
class Examples:
    """Steps whose action is known.

    Attributes:
        columns: names of the actions' columns, A of them.
        targets: what is reported, by name: some of the columns, judged together.
        known: by lag, ``[n, A]``.
        recordings: ``[n]``, names.
        parts: ``[n]``, the part of the split each step is of.
        kinds: ``[n]``, kind of scene; empty strings for real clips.
        latents: by checkpoint, ``[n, Z]``.
        grams: by encoder (number of its group) and name, ``[n, n]``.
    """

    columns: tuple[str, ...]
    targets: dict[str, tuple[str, ...]]
    known: dict[str, np.ndarray]
    recordings: np.ndarray
    parts: np.ndarray
    kinds: np.ndarray
    latents: dict[str, np.ndarray] = field(default_factory=dict)
    grams: list[dict[str, np.ndarray]] = field(default_factory=list)


class _Encoded:
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


def camera_velocity(script: Script) -> np.ndarray:
    """Camera's and thing's velocity in a script: ``[S, 6]``, columns pan x, y, zoom, roll, move x, y.

    Pan and move are in picture widths a step, zoom is the logarithm of the scale, roll is in radians. The
    pan is as the camera sees it: in its own axes and in its own scale. A thing that does not act is zero.
    """
    steps = np.diff(script.camera, axis=0)
    angle, scale = script.camera[:-1, 3], np.exp(script.camera[:-1, 2])
    x = (np.cos(angle) * steps[:, 0] + np.sin(angle) * steps[:, 1]) / scale
    y = (-np.sin(angle) * steps[:, 0] + np.cos(angle) * steps[:, 1]) / scale
    move = np.diff(script.things[0, :, :2], axis=0) if len(script.things) else np.zeros((len(steps), 2))
    return np.column_stack([x, y, steps[:, 2], steps[:, 3], move])


def _scene(script: Script, cast: Cast, bank: Photographs, size: int) -> np.ndarray:
    """Frames uint8 ``[T, size, size, 3]``, drawn at twice the size: texture that moves must not glitter."""
    clip = F.avg_pool2d(render([script], [cast], bank, 2 * size)[0], 2)
    return (clip.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _scene_examples(
    pipelines: Mapping[str, TransferPipeline],
    groups: Sequence[Sequence[str]],
    photos: Path | None,
    counts: tuple[int, int],
    seed: int,
    progress: bool,
) -> tuple[Examples, dict[str, int]]:
    """Steps of procedural scenes; those judged are of other photographs than those fitted on."""
    pictures = photographs_in(photos or bundled_photographs(), _BANK)
    if len(pictures) < 4:
        raise LamdemoError("Probing scenes needs at least four photographs; add some to the folder.")
    order = np.random.default_rng([seed, 2]).permutation(len(pictures))
    third = max(len(pictures) // 3, 2)
    banks = {"test": Photographs(pictures[order[:third]]), "train": Photographs(pictures[order[third:]])}
    size = max(p.model.config.encoder.picture for p in pipelines.values())
    encoded = _Encoded(pipelines, groups)
    plan = [(part, i) for part, n in zip(("train", "test"), counts, strict=True) for i in range(n)]

    def draw(item: tuple[str, int]) -> tuple[Script, np.ndarray]:
        part, i = item
        rng = np.random.default_rng([seed, 3, i, part == "test"])
        script = write_script(rng, SCENE_STEPS + 1, SceneConfig(), SCENE_KINDS[i % len(SCENE_KINDS)])
        return script, _scene(script, draw_cast(rng, script, len(banks[part])), banks[part], size)

    known, kinds = [], []
    loaded = ahead(draw, plan, most=4, workers=1)
    for _, (script, frames) in tqdm(
        loaded, total=len(plan), desc="encoding scenes", disable=None if progress else True
    ):
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
class _Stretch:
    """A window of a clip: its first frame and the frames a step takes."""

    clip: IndexedClip
    part: str
    first: int
    stride: int
    fps: float


def _plan(
    folder: Path, clips: Sequence[tuple[IndexedClip, str]], tested: str, fps: float, seed: int
) -> tuple[list[_Stretch], list[dict[str, str]]]:
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
            planned.append(_Stretch(clip, part, first, stride, rate))
    return planned, skipped


def _real_targets(columns: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
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


def _real_examples(
    pipelines: Mapping[str, TransferPipeline],
    groups: Sequence[Sequence[str]],
    folder: Path,
    stretches: Sequence[_Stretch],
    name: str,
    skipped: list[dict[str, str]],
    progress: bool,
) -> Examples | None:
    """Steps of real clips, with every lag of their actions."""
    side = max(p.model.config.encoder.picture for p in pipelines.values())
    tables = {s.clip.clip: read_known_actions(folder, s.clip) for s in stretches}
    columns = next(iter(tables.values())).names
    if any(t.names != columns for t in tables.values()):
        raise LamdemoError(f"The actions of the clips in {name} are not of one kind; mend the index.")

    def read(s: _Stretch) -> np.ndarray | None:
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

    encoded = _Encoded(pipelines, groups)
    lags = {"now": LAGS["now"]} if next(iter(tables.values())).adds else LAGS
    known: dict[str, list[np.ndarray]] = {lag: [] for lag in lags}
    recordings: list[str] = []
    parts: list[str] = []
    loaded = ahead(read, stretches, most=_AHEAD)
    for s, frames in tqdm(loaded, total=len(stretches), desc=f"encoding {name}", disable=None if progress else True):
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
        Examples(
            columns, _real_targets(columns), joined, np.array(recordings), np.array(parts), np.full(len(parts), "")
        )
    )


# Judging.


@dataclass
class _Guesses:
    """Truth and guesses of one map, rows of all folds."""

    truth: list[np.ndarray] = field(default_factory=list)
    guess: list[np.ndarray] = field(default_factory=list)
    lags: list[list[str]] = field(default_factory=list)

    def add(self, truth: np.ndarray, guess: np.ndarray, lags: list[str]) -> None:
        self.truth.append(truth)
        self.guess.append(guess)
        self.lags.append(lags)


Folds = Sequence[tuple[np.ndarray, np.ndarray]]


def _judge(
    examples: Examples, inputs: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]], folds: Folds, seed: int
) -> dict[str, dict[str, Any]]:
    """Figures of probes of several inputs: by input, then by map, the guesses summed up by target.

    Args:
        examples: what is known.
        inputs: by name, for each fold the training and the test side's rows.
        folds: for each the indices of training and test rows.
        seed: of shuffles, maps and the bootstrap.

    Returns:
        By target, then by input, then by map: see `r_squared`, with ``lag``.
    """
    lags = list(examples.known)
    known = np.stack([examples.known[lag] for lag in lags])  # [L, n, A]
    width = known.shape[2]
    columns = np.arange(width)
    made: dict[tuple[str, str], _Guesses] = {}

    def keep(name: str, map_name: str, truth: np.ndarray, guess: np.ndarray, chosen: np.ndarray) -> None:
        made.setdefault((name, map_name), _Guesses()).add(truth, guess, [lags[i] for i in chosen])

    now = np.zeros(width, np.int64)
    for number, (train, test) in enumerate(folds):
        recordings = examples.recordings[train]
        flat = known[:, train].transpose(1, 0, 2).reshape(len(train), -1)  # lag by lag, all columns
        picks = {}
        for name, sides in inputs.items():
            left, right = sides[number]
            ridge = fit_ridge(left, flat, recordings)
            guess = ridge(right).reshape(len(test), len(lags), width)
            chosen = ridge.validated.reshape(len(lags), width).argmax(0)
            picks[name] = chosen
            truth = known[chosen[:, None], test, columns[:, None]].T
            keep(name, "linear", truth, guess[:, chosen, columns], chosen)
            if len(lags) > 1:
                keep(name, "linear_now", known[0, test], guess[:, 0], now)
            fitted = known[chosen[:, None], train, columns[:, None]].T
            keep(name, "mlp", truth, fit_mlp(left, fitted, recordings, seed)(right), chosen)
        if "z" in inputs:
            chosen = picks["z"]
            truth = known[chosen[:, None], test, columns[:, None]].T
            fitted = known[chosen[:, None], train, columns[:, None]].T
            mixed = fitted[np.random.default_rng([seed, 4, number]).permutation(len(train))]
            left, right = inputs["z"][number]
            keep("z_shuffled", "linear", truth, fit_ridge(left, mixed, recordings)(right), chosen)
            keep("mean", "linear", truth, np.repeat(fitted.mean(0)[None], len(test), 0), chosen)

    tested = np.concatenate([test for _, test in folds])
    where = {c: i for i, c in enumerate(examples.columns)}
    # A joint that never moves, or moves on one side only, tells nothing.
    moving = {c for c, i in where.items() if all(known[0, rows, i].std() > 1e-6 for fold in folds for rows in fold)}
    results: dict[str, dict[str, Any]] = {}
    for target, names in examples.targets.items():
        picked = [where[c] for c in names if c in moving]
        own = examples.kinds[tested] == target.split("_")[0]
        of: dict[str, Any] = {}
        for (name, map_name), guesses in made.items():
            truth, guess = np.concatenate(guesses.truth)[:, picked], np.concatenate(guesses.guess)[:, picked]
            entry: dict[str, Any] = r_squared(truth, guess, examples.recordings[tested], seed=seed)
            if len(picked) == 1 and truth.std() > 1e-9 and guess.std() > 1e-9:
                # Blind to scale and offset, which differ between two owners' cars.
                entry["correlation"] = float(np.corrcoef(truth[:, 0], guess[:, 0])[0, 1])
            if own.any():
                entry["own_kind"] = r_squared(truth[own], guess[own], examples.recordings[tested][own], seed=seed)
            if len(lags) > 1 and len(picked) == 1:
                entry["lag"] = [chosen[picked[0]] for chosen in guesses.lags]
            of.setdefault(name, {})[map_name] = entry
        results[target] = of
    return results


def _settings_of(examples: Examples, part: str) -> dict[str, Folds]:
    """Which rows are fitted on and which are judged, by the setting's name.

    ``across``: fitted on the train part, judged on ``part``. ``within``: recordings of ``part`` alone, each third
    judged by what was fitted on the others. ``within_train``: the same in the train part, where ``part`` has too
    few recordings; the checkpoint may have been trained on these, the probe was not.
    """
    parts, names = examples.parts, examples.recordings
    found: dict[str, Folds] = {}

    def many(rows: np.ndarray) -> int:
        return len(np.unique(names[rows]))

    mine, train = np.flatnonzero(parts == part), np.flatnonzero(parts == "train")
    if part != "train" and len(mine) and many(train) >= _LEAST_RECORDINGS:
        found["across"] = [(train, mine)]
    for setting, rows in (("within", mine), ("within_train", train)):
        if many(rows) >= 2 * _LEAST_RECORDINGS:
            fold = _fold_of(names[rows], _FOLDS)
            found[setting] = [(rows[fold != k], rows[fold == k]) for k in range(_FOLDS)]
            break
    return found


def _counts(examples: Examples, folds: Folds, which: int) -> dict[str, Any]:
    rows = np.unique(np.concatenate([fold[which] for fold in folds]))
    return {
        "parts": sorted(set(examples.parts[rows].tolist())),
        "recordings": len(np.unique(examples.recordings[rows])),
        "steps": len(rows),
    }


def _probe(
    examples: Examples,
    settings: Mapping[str, Folds],
    groups: Sequence[Sequence[str]],
    seed: int,
    bar: tqdm[Any],
) -> dict[str, dict[str, Any]]:
    """Figures by checkpoint and setting; what does not depend on the checkpoint is computed once."""
    results: dict[str, dict[str, Any]] = {name: {} for group in groups for name in group}
    for setting, folds in settings.items():
        for group, grams in zip(groups, examples.grams, strict=True):
            raw = {name: [components(g, a, b) for a, b in folds] for name, g in grams.items()}
            beside = _judge(examples, raw, folds, seed)
            for name in group:
                z = examples.latents[name]
                own = _judge(examples, {"z": [(z[a], z[b]) for a, b in folds]}, folds, seed)
                results[name][setting] = {
                    "fitted_on": _counts(examples, folds, 0),
                    "judged_on": _counts(examples, folds, 1),
                    "folds": len(folds),
                    "targets": {t: {**own[t], **beside[t]} for t in own},
                }
                bar.update()
    return results


def evaluate_probes(
    pipelines: Mapping[str, TransferPipeline],
    videos: Path | None,
    *,
    split: Split | str | Path | None = None,
    part: Part | Literal["all"] = "test",
    seed: int = 0,
    photos: str | Path | None = None,
    max_clips: int | None = None,
    progress: bool = True,
) -> dict[str, dict[str, Any]]:
    """Probe the latents of several checkpoints for actions that are known.

    Args:
        pipelines: of the models to judge, by name.
        videos: folder of clips with an index of their actions (see `lamdemo.data.known_actions`); only scenes
            are probed without it, or where it has no index.
        split: which clips are for what; all of them are ``part`` without it.
        part: on which recordings to judge.
        seed: of scenes, windows, shuffles, maps and the bootstrap.
        photos: folder of photographs for the scenes; the bundled ones, never in training, by default.
        max_clips: at most so many clips of each set of clips on the training side, and half as many on the other;
            `CLIPS` by default.
        progress: show a progress bar on a terminal.

    Returns:
        By checkpoint, plain numbers ready for JSON: ``headline``; ``scenes`` and ``clips`` (by set: "nav",
        "droid_ctrlworld_cam0" ...), each by setting (``across``, ``within``, ``within_train``) with
        ``fitted_on`` and ``judged_on`` (parts, recordings, steps) and ``targets``: by target, input (``z``,
        ``z_shuffled``, ``mean``, ``difference``, ``pooled``) and map (``linear``, ``linear_now``, ``mlp``) the R²
        with its interval, ``own_kind`` (on scenes of that kind alone), ``correlation`` and ``lag`` (one for each
        fold).

    Raises:
        LamdemoError: there are too few photographs, or the index or an action file is damaged.
    """
    groups = same_encoders(pipelines)
    fps = pipelines[groups[0][0]].fps
    if any(p.fps != fps for p in pipelines.values()):
        raise LamdemoError("The checkpoints step at different rates; judge them one by one.")
    split = split if split is None or isinstance(split, Split) else Split.read(split)
    most = max_clips or CLIPS
    share = min(most / CLIPS, 1.0)
    counts = max(int(TRAIN_SCENES * share), 24), max(int(TEST_SCENES * share), 16)
    used: list[str] = []
    skipped: list[dict[str, str]] = []

    with torch.no_grad():
        probed: dict[str, Examples] = {}
        probed["scenes"], photographs = _scene_examples(
            pipelines, groups, Path(photos) if photos else None, counts, seed, progress
        )
        if videos is not None:
            videos = Path(videos)
            clips = find_known_actions(videos)
            tested = part if split is not None else "all"
            if clips:
                there = {p.relative_to(videos).as_posix() for p in find_videos(videos)}
                clips = [c for c in clips if c.clip in there]
            for name in sorted({c.group for c in clips}):
                mine = [(c, split.part(c.clip) if split is not None else "all") for c in clips if c.group == name]
                chosen = _chosen([m for m in mine if m[1] == "train"], most, seed) if split is not None else []
                if tested == "all":
                    chosen = [(c, "all") for c, _ in _chosen(mine, most, seed)]
                elif tested != "train":
                    chosen += _chosen([m for m in mine if m[1] == tested], max(most // 2, 1), seed)
                stretches, left_out = _plan(videos, chosen, tested, fps, seed)
                skipped += left_out
                if not stretches:
                    continue
                examples = _real_examples(pipelines, groups, videos, stretches, name, skipped, progress)
                if examples is not None:
                    used += sorted({s.clip.clip for s in stretches})
                    probed[name] = examples
            part = tested

        planned = {
            name: {
                "across": [(np.flatnonzero(e.parts == "train"), np.flatnonzero(e.parts == "test"))],
            }
            if name == "scenes"
            else _settings_of(e, part)
            for name, e in probed.items()
        }
        total = len(pipelines) * sum(len(s) for s in planned.values())
        found: dict[str, dict[str, dict[str, Any]]] = {}
        with tqdm(total=total, desc="probing", disable=None if progress else True) as bar:
            for name, examples in probed.items():
                found[name] = _probe(examples, planned[name], groups, seed, bar)

    results = {}
    for name in pipelines:
        sets = {s: found[s][name] for s in found if s != "scenes" and found[s][name]}
        scenes = found["scenes"][name]["across"]
        results[name] = {
            "evaluation": "probes",
            "settings": {
                "part": part,
                "seed": seed,
                "max_clips": max_clips,
                "fps": fps,
                "steps": STEPS,
                "lags": {lag: list(of) for lag, of in LAGS.items()},
                "components": COMPONENTS,
                "scenes": {"fitted": counts[0], "judged": counts[1], "steps": SCENE_STEPS, **photographs},
            },
            "videos": {
                **(describe_files(videos, used) if videos is not None and used else {"files": 0}),
                "skipped": skipped,
            },
            "headline": _headline(scenes, sets),
            "scenes": scenes,
            "clips": sets,
        }
    return results


def _chosen(clips: Sequence[tuple[IndexedClip, str]], most: int, seed: int) -> list[tuple[IndexedClip, str]]:
    """At most so many clips, drawn evenly along their names."""
    if len(clips) <= most:
        return list(clips)
    rng = np.random.default_rng([seed, 5])
    return [clips[int(i)] for i in (np.arange(most) + rng.uniform(size=most)) * len(clips) / most]


def _headline(scenes: dict[str, Any], sets: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """R² of the linear map on z: of each kind of scene, and of commands on recordings the model has not seen."""
    head = {t: scenes["targets"][t]["z"]["linear"] for t in ("pan", "zoom", "roll", "move")}
    for of in sets.values():
        for setting, result in of.items():
            for command in ("steering", "throttle"):
                if command in result["targets"]:
                    head[f"{command}_{setting}"] = result["targets"][command]["z"]["linear"]
    return head
