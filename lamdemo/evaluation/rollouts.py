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
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lamdemo.core.errors import LamdemoError
from lamdemo.data.splits import Part, Split
from lamdemo.engine import LatentActions, TransferPipeline, sharpness
from lamdemo.evaluation.clips import Window, named_clips, read_windows, windows_of
from lamdemo.evaluation.encoding import latents_of, same_encoders
from lamdemo.evaluation.lpips import Perceptual, perceptual
from lamdemo.evaluation.pictures import psnr, ssim
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
    """What drawn pictures are compared with, at the horizons; measures of what needs no model."""

    stretch: _Stretch
    truth: list[list[Tensor]]
    copy: dict[str, list[float]]
    sharp_first: float
    sharp_truth: list[float]


def evaluate_rollouts(
    pipelines: Mapping[str, TransferPipeline],
    videos: str | Path,
    *,
    split: Split | str | Path | None = None,
    part: Part | Literal["all"] = "test",
    max_clips: int | None = None,
    drawn: int = DRAWN,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, dict[str, Any]]:
    """Measure rollouts of up to 32 steps.

    Args:
        pipelines: to judge, by name; those with the same encoder share what depends on it alone.
        videos: folder of clips; its first level of folders is reported part by part.
        split: which clips are for what; all of them are taken without it.
        part: of the split: "train", "validation", "test" or "all".
        max_clips: at most so many of the clips that are long enough (33 frames at the model's rate), taken in
            turns from the folders; one stretch of each.
        drawn: at most so many of them are drawn.
        seed: of the choice of clips and stretches, and of the bootstrap.
        progress: show a progress bar on a terminal.

    Returns:
        For each name plain numbers, ready for JSON: ``all`` and ``parts`` (by folder), each with

        - ``clips`` and ``recordings``;
        - ``state``: ``error`` (by method, a list over horizons 1 ... 32: mean absolute difference of states),
          ``over_copy`` (the same over that of ``copy``, ratio of means) and ``intervals`` (``over_copy`` at
          the horizons of ``horizons``, 95% by bootstrap over recordings);
        - ``pictures`` (None where no clip was drawn), by horizon: ``sharpness`` of ``model``, ``zero`` and
          ``truth`` over the first frame's, with intervals; ``psnr`` (dB), ``ssim`` and ``perceptual`` against
          the true frame, means by method; ``perceptual_over_copy``, with an interval;

        ``headline``; and ``perceptual_is``: which distance that is, with ``perceptual_why``. Pictures are
        compared at the encoder's own square.

    Raises:
        LamdemoError: there is no clip that is long enough.
    """
    folder = Path(videos)
    part, clips = named_clips(folder, split, part)  # type: ignore[assignment]
    settings = {"part": part, "steps": STEPS, "max_clips": max_clips, "drawn": drawn, "seed": seed}
    results: dict[str, dict[str, Any]] = {}
    for names in same_encoders(pipelines):
        results |= _evaluate_alike({name: pipelines[name] for name in names}, folder, clips, settings, progress)
    return {name: results[name] for name in pipelines}


@torch.no_grad()
def _evaluate_alike(
    pipelines: dict[str, TransferPipeline],
    folder: Path,
    clips: Mapping[str, Path],
    settings: dict[str, Any],
    progress: bool,
) -> dict[str, dict[str, Any]]:
    """Results of pipelines with the same encoder."""
    first = next(iter(pipelines.values()))
    seed, quiet = settings["seed"], None if progress else True
    windows, skipped = windows_of(clips, first.fps, seed, frames=STEPS + 1, most=1)
    rng = np.random.default_rng([seed, 2])
    windows = [windows[i] for i in balanced([w.group for w in windows], settings["max_clips"], rng)]
    shown = {windows[i] for i in balanced([w.group for w in windows], settings["drawn"], rng)}
    stretches = []
    for window, frames in read_windows(folder, windows, first, skipped, frames=STEPS + 1, progress=progress):
        states = first.encode(frames).float().cpu()
        stretches.append(_Stretch(window, states, frames if window in shown else None))
    if not stretches:
        raise LamdemoError(
            f"No clip of {folder.name} lasts {(STEPS + 1) / first.fps:g} seconds; give longer ones for rollouts of "
            f"{STEPS} steps."
        )
    look = perceptual(first)
    compared = [
        _show(look, s) for s in tqdm([s for s in stretches if s.frames is not None], desc="looking", disable=quiet)
    ]
    about = {
        "evaluation": "rollouts",
        "settings": {**settings, "fps": first.fps, "horizons": list(HORIZONS)},
        "clips": {
            **describe_files(folder, sorted({s.window.name for s in stretches})),
            "recordings": len({s.window.recording for s in stretches}),
            "skipped": skipped,
        },
        "perceptual_is": look.name,
        "perceptual_why": look.why,
    }
    results = {}
    for name, pipeline in pipelines.items():
        latents = [latents_of(pipeline, s.states) for s in stretches]
        errors = _roll(pipeline, stretches, latents, f"rolling out {name}", quiet)
        given = {s.window: z for s, z in zip(stretches, latents, strict=True)}
        pictures = _draw(pipeline, compared, given, look, f"drawing {name}", quiet)
        results[name] = {**about, **_result(stretches, errors, compared, pictures, seed)}
    return results


def _roll(
    pipeline: TransferPipeline, stretches: list[_Stretch], latents: list[np.ndarray], what: str, quiet: bool | None
) -> dict[str, np.ndarray]:
    """Errors of states ``[n, S]`` by method."""
    world, device = pipeline.model.world_model, pipeline.model.device
    errors = {m: np.zeros((len(stretches), STEPS)) for m in _METHODS}
    for start in tqdm(range(0, len(stretches), _BATCH), desc=what, disable=quiet):
        rows = slice(start, start + _BATCH)
        states = torch.stack([s.states for s in stretches[rows]]).to(device)
        z = torch.from_numpy(np.stack(latents[rows])).to(device)
        begin, truth = states[:, :1], states[:, 1:]
        made = {"copy": begin, "model": world.rollout(begin, z).states, "zero": world.rollout(begin, 0 * z).states}
        for m, state in made.items():
            errors[m][rows] = state_error(state, truth).cpu().numpy()
    return errors


def _show(look: Perceptual, stretch: _Stretch) -> _Shown:
    """Features of the true frames, and how far the first is from them."""
    assert stretch.frames is not None
    frames = stretch.frames[[0, *HORIZONS]]
    maps = look.features(frames)
    truth = [[m[k : k + 1] for m in maps] for k in range(len(frames))]
    begin = truth.pop(0)
    copy = {
        "psnr": [psnr(frames[0], f) for f in frames[1:]],
        "ssim": [ssim(frames[0], f) for f in frames[1:]],
        "perceptual": [float(look.distance(begin, t)[0]) for t in truth],
    }
    sharp = [sharpness(f) for f in frames]
    return _Shown(stretch, truth, copy, sharp[0], sharp[1:])


def _draw(
    pipeline: TransferPipeline,
    compared: list[_Shown],
    latents: Mapping[Window, np.ndarray],
    look: Perceptual,
    what: str,
    quiet: bool | None,
) -> dict[str, dict[str, np.ndarray]]:
    """Draw the rollouts and measure them: method -> measure -> ``[clips, horizons]``."""
    made: dict[str, dict[str, np.ndarray]] = {
        m: {k: np.zeros((len(compared), len(HORIZONS))) for k in (*_MEASURES, "sharpness")} for m in _METHODS
    }

    def judge(i: int, method: str, frames: np.ndarray) -> None:
        shown, into = compared[i], made[method]
        assert shown.stretch.frames is not None
        maps = look.features(frames)
        for k, (h, frame) in enumerate(zip(HORIZONS, frames, strict=True)):
            truth = shown.stretch.frames[h]
            into["psnr"][i, k], into["ssim"][i, k] = psnr(frame, truth), ssim(frame, truth)
            into["perceptual"][i, k] = look.distance([m[k : k + 1] for m in maps], shown.truth[k])[0]
            into["sharpness"][i, k] = sharpness(frame)

    # The next clip is drawn while the one before is measured.
    with ThreadPoolExecutor(2) as pool:
        jobs = []
        for i, shown in enumerate(tqdm(compared, desc=what, disable=quiet)):
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
