"""How far ahead a model can be trusted: error and sharpness against horizon, up to 32 steps of its own making.

A rollout starts from the first frame of a stretch of a real clip and is given the stretch's own latents; nothing
else of the clip reaches it. Beside the model stand ``copy`` (the first frame held still) and ``zero`` (the model
under no action). States are compared on all clips that are long enough. A few are drawn, too: sharpness and what
the pictures look like need them, and drawing costs more than predicting.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lamdemo.core.errors import LamdemoError
from lamdemo.engine import LatentActions, TransferPipeline, sharpness
from lamdemo.evaluation.clips import ClipSet, Window, read_windows, windows_of
from lamdemo.evaluation.encoding import by_encoder, latents_of
from lamdemo.evaluation.pictures import FROZEN_FEATURES, feature_distance, features, psnr, ssim
from lamdemo.evaluation.report import describe_files
from lamdemo.evaluation.statistics import balanced, ratio_of_means
from lamdemo.evaluation.videos import state_error

STEPS = 32
HORIZONS = (1, 2, 4, 8, 16, 32)  # at which intervals are given and pictures are compared
DRAWN = 24  # clips at most that are drawn
_BATCH = 8  # windows through the model at once
_METHODS = ("model", "copy", "zero")
_MEASURES = ("psnr", "ssim", "perceptual")


@dataclass
class _Stretch:
    """A stretch of a clip: states ``[T, N, D]`` and, where it is drawn, frames ``[T, H, W, 3]``."""

    window: Window
    states: Tensor
    frames: np.ndarray | None


@dataclass
class _Shown:
    """What drawn pictures are compared with: features ``[horizons, h, w, C]``; and how copying does, by measure."""

    stretch: _Stretch
    truth: Tensor
    copy: dict[str, list[float]]
    sharp_first: float
    sharp_truth: list[float]


def evaluate_rollouts(
    pipelines: Mapping[str, TransferPipeline], clips: ClipSet, *, drawn: int = DRAWN
) -> dict[str, dict[str, Any]]:
    """Measure rollouts of up to 32 steps.

    Args:
        pipelines: to judge, by name; those with the same encoder share what depends on it alone.
        clips: to judge on. Their number counts those that are long enough (33 frames at the model's rate), one
            stretch of each.
        drawn: at most so many of them are drawn.

    Returns:
        For each name plain numbers, ready for JSON: ``all`` and ``parts`` (by folder), each with

        - ``clips`` and ``recordings``;
        - ``state``: ``error`` (by method, a list over horizons 1 ... 32: mean absolute difference of states),
          ``over_copy`` (the same over that of ``copy``, ratio of means) and ``intervals`` (``over_copy`` at
          the horizons of ``horizons``, 95% by bootstrap over recordings);
        - ``pictures`` (None where no clip was drawn), by horizon: ``sharpness`` of ``model``, ``zero`` and
          ``truth`` over the first frame's, with intervals; ``psnr`` (dB), ``ssim`` and ``perceptual`` against
          the true frame, means by method; ``perceptual_over_copy``, with an interval;

        ``headline``; and ``perceptual_is``: which distance that is. Pictures are
        compared at the encoder's own square.

    Raises:
        LamdemoError: there is no clip that is long enough.
    """
    return by_encoder(pipelines, partial(_evaluate_alike, clips=clips, named=clips.named(), drawn=drawn))


@torch.no_grad()
def _evaluate_alike(
    pipelines: dict[str, TransferPipeline], clips: ClipSet, named: Mapping[str, Path], drawn: int
) -> dict[str, dict[str, Any]]:
    """Results of pipelines with the same encoder."""
    first = next(iter(pipelines.values()))
    folder, seed = clips.folder, clips.seed
    windows, skipped = windows_of(named, first.fps, seed, frames=STEPS + 1, most=1)
    rng = np.random.default_rng([seed, 2])
    windows = [windows[i] for i in balanced([w.group for w in windows], clips.max_clips, rng)]
    shown = {windows[i] for i in balanced([w.group for w in windows], drawn, rng)}
    stretches = []
    for window, frames in read_windows(folder, windows, first, skipped, frames=STEPS + 1):
        states = first.encode(frames).float().cpu()
        stretches.append(_Stretch(window, states, frames if window in shown else None))
    if not stretches:
        raise LamdemoError(
            f"No clip of {folder.name} lasts {(STEPS + 1) / first.fps:g} seconds; give longer ones for rollouts of "
            f"{STEPS} steps."
        )
    compared = [
        _show(first, s) for s in tqdm([s for s in stretches if s.frames is not None], desc="looking", disable=None)
    ]
    about = {
        "evaluation": "rollouts",
        "settings": {**clips.settings, "steps": STEPS, "drawn": drawn, "fps": first.fps, "horizons": list(HORIZONS)},
        "clips": {
            **describe_files(folder, sorted({s.window.name for s in stretches})),
            "recordings": len({s.window.recording for s in stretches}),
            "skipped": skipped,
        },
        "perceptual_is": FROZEN_FEATURES,
    }
    results = {}
    for name, pipeline in pipelines.items():
        latents = [latents_of(pipeline, s.states) for s in stretches]
        errors = _roll(pipeline, stretches, latents, f"rolling out {name}")
        given = {s.window: z for s, z in zip(stretches, latents, strict=True)}
        pictures = _draw(pipeline, compared, given, first, f"drawing {name}")
        results[name] = {**about, **_result(stretches, errors, compared, pictures, seed)}
    return results


def _roll(
    pipeline: TransferPipeline, stretches: list[_Stretch], latents: list[np.ndarray], what: str
) -> dict[str, np.ndarray]:
    """Errors of states ``[n, S]`` by method."""
    world, device = pipeline.model.world_model, pipeline.model.device
    errors = {m: np.zeros((len(stretches), STEPS)) for m in _METHODS}
    for start in tqdm(range(0, len(stretches), _BATCH), desc=what, disable=None):
        rows = slice(start, start + _BATCH)
        states = torch.stack([s.states for s in stretches[rows]]).to(device)
        z = torch.from_numpy(np.stack(latents[rows])).to(device)
        begin, truth = states[:, :1], states[:, 1:]
        made = {"copy": begin, "model": world.rollout(begin, z).states, "zero": world.rollout(begin, 0 * z).states}
        for m, state in made.items():
            errors[m][rows] = state_error(state, truth).cpu().numpy()
    return errors


def _show(pipeline: TransferPipeline, stretch: _Stretch) -> _Shown:
    """Features of the true frames, and how far the first is from them."""
    assert stretch.frames is not None
    frames = stretch.frames[[0, *HORIZONS]]
    seen = features(pipeline, frames)
    copy = {
        "psnr": [psnr(frames[0], f) for f in frames[1:]],
        "ssim": [ssim(frames[0], f) for f in frames[1:]],
        "perceptual": feature_distance(seen[:1], seen[1:]).tolist(),
    }
    sharp = [sharpness(f) for f in frames]
    return _Shown(stretch, seen[1:], copy, sharp[0], sharp[1:])


def _draw(
    pipeline: TransferPipeline,
    compared: list[_Shown],
    latents: Mapping[Window, np.ndarray],
    eyes: TransferPipeline,
    what: str,
) -> dict[str, dict[str, np.ndarray]]:
    """Draw rollouts and measure them, with the encoder of ``eyes``: method -> measure -> ``[clips, horizons]``."""
    made: dict[str, dict[str, np.ndarray]] = {
        m: {k: np.zeros((len(compared), len(HORIZONS))) for k in (*_MEASURES, "sharpness")} for m in _METHODS
    }

    def judge(i: int, method: str, frames: np.ndarray) -> None:
        shown, into = compared[i], made[method]
        assert shown.stretch.frames is not None
        into["perceptual"][i] = feature_distance(features(eyes, frames), shown.truth)
        for k, (h, frame) in enumerate(zip(HORIZONS, frames, strict=True)):
            truth = shown.stretch.frames[h]
            into["psnr"][i, k], into["ssim"][i, k] = psnr(frame, truth), ssim(frame, truth)
            into["sharpness"][i, k] = sharpness(frame)

    # The next clip is drawn while the one before is measured.
    with ThreadPoolExecutor(2) as pool:
        jobs = []
        for i, shown in enumerate(tqdm(compared, desc=what, disable=None)):
            assert shown.stretch.frames is not None
            actions = LatentActions(latents[shown.stretch.window], pipeline.fps, pipeline.checkpoint)
            steps = [s for s in pipeline.stream(actions, shown.stretch.frames[0]) if s.index in HORIZONS]
            jobs.append(pool.submit(judge, i, "model", np.stack([s.frame for s in steps])))
            jobs.append(pool.submit(judge, i, "zero", np.stack([s.idle for s in steps])))
            for measure, values in shown.copy.items():
                made["copy"][measure][i] = values
            made["copy"]["sharpness"][i] = shown.sharp_first
        for job in jobs:
            job.result()
    return made


def _result(
    stretches: list[_Stretch],
    errors: dict[str, np.ndarray],
    compared: list[_Shown],
    pictures: dict[str, dict[str, np.ndarray]],
    seed: int,
) -> dict[str, Any]:
    groups = sorted({s.window.group for s in stretches})

    def summary(group: str | None) -> dict[str, Any]:
        rows = [i for i, s in enumerate(stretches) if group in (None, s.window.group)]
        names = [stretches[i].window.recording for i in rows]
        mine = {m: e[rows] for m, e in errors.items()}
        copied = mine["copy"].mean(0)
        drawn = [i for i, s in enumerate(compared) if group in (None, s.stretch.window.group)]
        return {
            "clips": len(rows),
            "recordings": len(set(names)),
            "state": {
                "error": {m: e.mean(0).tolist() for m, e in mine.items()},
                "over_copy": {
                    m: [float(e / c) if c > 0 else None for e, c in zip(mine[m].mean(0), copied, strict=True)]
                    for m in ("model", "zero")
                },
                "intervals": {
                    m: {
                        str(h): ratio_of_means(mine[m][:, h - 1], mine["copy"][:, h - 1], names, seed=seed)
                        for h in HORIZONS
                    }
                    for m in ("model", "zero")
                },
            },
            "pictures": _pictures([compared[i] for i in drawn], drawn, pictures, seed) if drawn else None,
        }

    whole = summary(None)
    at = whole["state"]["intervals"]["model"]
    drawn = whole["pictures"]
    return {
        "headline": {
            "state_8": at["8"],
            "state_16": at["16"],
            "state_32": at["32"],
            "sharpness_16": drawn["sharpness"]["model"]["16"] if drawn else None,
            "sharpness_32": drawn["sharpness"]["model"]["32"] if drawn else None,
        },
        "all": whole,
        "parts": {group: summary(group) for group in groups},
    }


def _pictures(
    shown: list[_Shown], rows: list[int], pictures: dict[str, dict[str, np.ndarray]], seed: int
) -> dict[str, Any]:
    """Figures of drawn clips ``shown``, which are ``rows`` of ``pictures``."""
    names = [s.stretch.window.recording for s in shown]
    first = np.array([s.sharp_first for s in shown])
    sharp = {m: pictures[m]["sharpness"][rows] for m in ("model", "zero")}
    sharp["truth"] = np.array([s.sharp_truth for s in shown])
    near = {m: pictures[m]["perceptual"][rows] for m in _METHODS}

    def ratios(over: np.ndarray, under: np.ndarray) -> dict[str, dict[str, float | None]]:
        return {str(h): ratio_of_means(over[:, k], under[:, k], names, seed=seed) for k, h in enumerate(HORIZONS)}

    def means(measure: str) -> dict[str, dict[str, float]]:
        return {
            m: {str(h): float(v) for h, v in zip(HORIZONS, pictures[m][measure][rows].mean(0), strict=True)}
            for m in _METHODS
        }

    return {
        "clips": len(shown),
        "recordings": len(set(names)),
        "sharpness": {m: ratios(s, np.repeat(first[:, None], len(HORIZONS), 1)) for m, s in sharp.items()},
        **{measure: means(measure) for measure in _MEASURES},
        "perceptual_over_copy": {m: ratios(near[m], near["copy"]) for m in ("model", "zero")},
    }
