"""Judging a model on real clips it was not trained on: prediction, leakage, cycle (paper, section 4).

Everything is measured between states, as the mean absolute difference over cells and channels: it is what the
world model is trained on, and no decoder comes between. Beside the model stand what its critics ask for:

``copy``
    nothing changes. Every figure is given over this one's.
``zero``
    the model with ``z = 0``, "nothing happens".
``shuffled``
    the model with the latents of a clip of another recording.
``copied_flow``
    motion goes on as it was: the optical flow of the step *before* is carried forward, the frame warped by it
    and encoded. It has not seen the next frame.
``own_flow``
    the optical flow of the step *itself*: frame ``t`` warped by the flow between ``t`` and ``t + 1``, and
    encoded. It has seen the next frame, as the latent has, and through far more numbers (two a pixel): it
    is what copying dense motion would reach.

Past and present are true in one-step predictions: only the last step's latent differs between methods, those
of the steps before it are the clip's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.clips import (
    STEPS,
    WINDOWS,
    ClipSet,
    Window,
    check_recordings,
    describe_windows,
    read_windows,
    windows_of,
)
from lamdemo.evaluation.encoding import by_encoder
from lamdemo.evaluation.pictures import compose, motion
from lamdemo.evaluation.statistics import compare, ratio_of_means, swapped
from lamdemo.models.layers import KeyValueCache
from lamdemo.video import warp

_BATCH = 8  # windows through the model at once

_FLOWS = ("copied_flow", "own_flow")
_METHODS = ("model", "copy", "zero", "shuffled", *_FLOWS)


@dataclass
class _Seen:
    """A window after encoding: states ``[T, N, D]``, latents ``[S, Z]``, and per step ``[S]`` the rest."""

    window: Window
    states: Tensor
    latents: Tensor
    speed: np.ndarray
    one: dict[str, np.ndarray]
    far: dict[str, np.ndarray]


def state_error(one: Tensor, other: Tensor) -> Tensor:
    """Mean absolute difference of states ``[..., N, D]`` over cells and channels, ``[...]``."""
    return (one - other).abs().mean((-1, -2))


def evaluate_videos(pipeline: TransferPipeline | Mapping[str, TransferPipeline], clips: ClipSet) -> dict[str, Any]:
    """Measure prediction, leakage and cycle on clips.

    Args:
        pipeline: of the model to judge; or several by name, of which those with the same encoder share what
            depends on it alone.
        clips: to judge on.

    Returns:
        Plain numbers, ready for JSON (for several pipelines: by their names). ``headline``; ``all`` and
        ``parts`` (by folder), each with

        - ``one_step``: over ``all`` steps, the ``moving`` half and the ``still`` half (by mean optical flow),
          see `compare`;
        - ``eight_step``: the rollout's error at its ``last`` step and its ``mean``;
        - ``leakage``: error at a scene cut spliced in, over that of the uncut step at the same place;
        - ``cycle``: error on A with latents that were inferred from B's prediction under A's latents,
          over that with A's own, for single steps and for the rollout; ``shuffled`` is the same for another
          clip's latents, which is what failure looks like.

    Raises:
        LamdemoError: there is no such clip, or clips of one recording only.
    """
    pipelines = pipeline if isinstance(pipeline, Mapping) else {"": pipeline}
    results = by_encoder(pipelines, partial(_evaluate_alike, clips=clips, chosen=clips.chosen()))
    return results if isinstance(pipeline, Mapping) else results[""]


def _evaluate_alike(
    pipelines: dict[str, TransferPipeline], clips: ClipSet, chosen: Mapping[str, Path]
) -> dict[str, dict[str, Any]]:
    """Results of pipelines with the same encoder."""
    first = next(iter(pipelines.values()))
    windows, skipped = windows_of(chosen, first.fps, clips.seed)
    seen: dict[str, list[_Seen]] = {name: [] for name in pipelines}
    for window, frames in read_windows(clips.folder, windows, first, skipped):
        look: _Seen | None = None
        for name, pipeline in pipelines.items():
            if look is None:
                look = _look(pipeline, window, frames)
            else:
                z = pipeline.model.infer(look.states.to(pipeline.model.device)[None])[0].cpu()
                look = replace(look, latents=z)
            seen[name].append(look)
    read = [s.window for s in next(iter(seen.values()))]
    check_recordings(clips.folder, read, first.fps)
    recordings = [w.recording for w in read]
    results = {}
    for name, pipeline in pipelines.items():
        rng = np.random.default_rng([clips.seed, 1])
        others = swapped(recordings, rng)
        cuts = rng.integers(1, STEPS, len(recordings))
        measured = _Measured(seen.pop(name), others, cuts)
        with torch.no_grad():
            _predict(pipeline, measured)
        results[name] = _result(measured, pipeline.fps, skipped, clips)
    return results


def _result(measured: _Measured, fps: float, skipped: list[dict[str, str]], clips: ClipSet) -> dict[str, Any]:
    seen, seed = measured.seen, clips.seed
    everything = np.arange(len(seen))
    results: dict[str, Any] = {
        "evaluation": "videos",
        "settings": {
            **clips.settings,
            "fps": fps,
            "steps": STEPS,
            "windows_per_clip": WINDOWS,
            # Percent of the picture's width a step, above which a step counts as moving.
            "moving_above": float(100 * measured.threshold),
        },
        "clips": describe_windows(clips.folder, [s.window for s in seen], skipped),
    }
    whole = measured.summary(everything, seed)
    results["headline"] = {
        "one_step_moving": whole["one_step"]["moving"]["over_copy"]["model"],
        "one_step_all": whole["one_step"]["all"]["over_copy"]["model"],
        "eight_step": whole["eight_step"]["mean"]["over_copy"]["model"],
        "leakage": whole["leakage"]["ratio"],
        "cycle": whole["cycle"]["one_step"]["all"]["ratio"],
        "cycle_moving": whole["cycle"]["one_step"]["moving"]["ratio"],
    }
    results["all"] = whole
    results["parts"] = {
        group: measured.summary(np.array([i for i in everything if seen[i].window.group == group], np.int64), seed)
        for group in sorted({s.window.group for s in seen})
    }
    return results


def _look(pipeline: TransferPipeline, window: Window, frames: np.ndarray) -> _Seen:
    """Encode a window, infer its latents, and measure what needs pictures: speed and the flow baselines."""
    flows = motion(frames)
    before, flows, frames = flows[:STEPS], flows[1:], frames[1:]
    pairs = range(STEPS)
    one = {
        "own_flow": [warp(frames[t], flows[t], interpolation="cubic") for t in pairs],
        "copied_flow": [warp(frames[t], before[t], interpolation="cubic") for t in pairs],
    }
    far: dict[str, list[np.ndarray]] = {"own_flow": [], "copied_flow": []}
    for name, steps in (("own_flow", flows), ("copied_flow", [before[0]] * STEPS)):
        total = steps[0]
        # The rollout's first step is the one-step prediction of the first frame.
        for flow in steps[1:]:
            total = compose(total, flow)
            far[name].append(warp(frames[0], total, interpolation="cubic"))
    pictures = [*frames, *(p for m in _FLOWS for p in one[m]), *(p for m in _FLOWS for p in far[m])]
    encoded = pipeline.encode(np.stack(pictures)).float()
    lengths = [len(frames), STEPS, STEPS, STEPS - 1, STEPS - 1]
    states, *made = encoded.split(lengths)
    truth = states[1:]
    ones = {m: state_error(s, truth) for m, s in zip(_FLOWS, made[:2], strict=True)}
    fars = {m: torch.cat([ones[m][:1], state_error(s, truth[1:])]) for m, s in zip(_FLOWS, made[2:], strict=True)}
    return _Seen(
        window,
        states.cpu(),
        pipeline.model.infer(states[None])[0].cpu(),
        np.linalg.norm(flows, axis=-1).mean((1, 2)) / flows.shape[2],
        {m: e.cpu().numpy() for m, e in ones.items()},
        {m: e.cpu().numpy() for m, e in fars.items()},
    )


class _Measured:
    """Errors of all windows and methods, and how they are summed up.

    Attributes:
        one: by method, ``[n, S]``: one-step errors.
        far: by method, ``[n, S]``: errors of the rollout from the first frame.
        cut: by name, ``[n]``: errors and sizes at the cut and at the uncut step in its place.
        cycle_one: by name, ``[n, S]``; row i is of window ``others[i]``, through window i.
        cycle_far: the same for rollouts.
    """

    def __init__(self, seen: list[_Seen], others: np.ndarray, cuts: np.ndarray) -> None:
        self.seen, self.others, self.cuts = seen, others, cuts
        n = len(seen)
        self.one = {m: np.zeros((n, STEPS)) for m in _METHODS}
        self.far = {m: np.zeros((n, STEPS)) for m in _METHODS}
        for m in _FLOWS:
            self.one[m] = np.stack([s.one[m] for s in seen]).astype(np.float64)
            self.far[m] = np.stack([s.far[m] for s in seen]).astype(np.float64)
        self.cut = {name: np.zeros(n) for name in ("cut", "uncut", "copy_cut", "copy_uncut", "size_cut", "size_uncut")}
        self.cycle_one = np.zeros((n, STEPS))
        self.cycle_far = np.zeros((n, STEPS))
        self.speed = np.stack([s.speed for s in seen])
        self.threshold = float(np.median(self.speed))
        self.recordings = np.array([s.window.recording for s in seen])

    def halves(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Which steps ``[len(rows), S]`` are all, moving and still."""
        moving = self.speed[rows] > self.threshold
        return {"all": np.ones_like(moving), "moving": moving, "still": ~moving}

    def summary(self, rows: np.ndarray, seed: int) -> dict[str, Any]:
        """Figures of some windows."""
        names = self.recordings[rows]
        each = np.repeat(names[:, None], STEPS, 1)
        one = {m: e[rows] for m, e in self.one.items()}
        far = {m: e[rows] for m, e in self.far.items()}
        cut = {m: e[rows] for m, e in self.cut.items()}

        def ratio(over: np.ndarray, under: np.ndarray, groups: np.ndarray = names) -> dict[str, float | None]:
            return ratio_of_means(over.ravel(), under.ravel(), groups.ravel().tolist(), seed=seed)

        # A cycle is booked on the window whose own latents it is compared with.
        into = np.flatnonzero(np.isin(self.others, rows))
        home = self.others[into]
        home_names = self.recordings[home]
        home_each = np.repeat(home_names[:, None], STEPS, 1)
        cycle_one = {}
        for half, chosen in self.halves(home).items():
            inferred, cycled, swapped_in = (
                e[chosen] for e in (self.one["model"][home], self.cycle_one[into], self.one["shuffled"][home])
            )
            cycle_one[half] = {
                "steps": int(chosen.sum()),
                "own": float(inferred.mean()) if len(inferred) else None,
                "cycled": float(cycled.mean()) if len(inferred) else None,
                "ratio": ratio(cycled, inferred, home_each[chosen]),
                "shuffled": ratio(swapped_in, inferred, home_each[chosen]),
            }
        inferred, cycled, swapped_in = self.far["model"][home], self.cycle_far[into], self.far["shuffled"][home]
        return {
            "one_step": {
                half: compare({m: e[chosen] for m, e in one.items()}, each[chosen].tolist(), base="copy", seed=seed)
                for half, chosen in self.halves(rows).items()
            },
            "eight_step": {
                "last": compare({m: e[:, -1] for m, e in far.items()}, names.tolist(), seed=seed),
                "mean": compare({m: e.mean(1) for m, e in far.items()}, names.tolist(), seed=seed),
            },
            "leakage": {
                "cuts": len(rows),
                "ratio": ratio(cut["cut"], cut["uncut"]),
                "error_cut": float(cut["cut"].mean()),
                "error_uncut": float(cut["uncut"].mean()),
                "copy_cut": float(cut["copy_cut"].mean()),
                "copy_uncut": float(cut["copy_uncut"].mean()),
                # 1: the latent told nothing of the new scene; 0: it held all of it.
                "over_copy_cut": ratio(cut["cut"], cut["copy_cut"]),
                "over_copy_uncut": ratio(cut["uncut"], cut["copy_uncut"]),
                "latent_size_cut": float(cut["size_cut"].mean()),
                "latent_size_uncut": float(cut["size_uncut"].mean()),
            },
            "cycle": {
                "one_step": cycle_one,
                "eight_step": {
                    "own": float(inferred.mean()) if len(inferred) else None,
                    "cycled": float(cycled.mean()) if len(inferred) else None,
                    "ratio": ratio(cycled, inferred, home_each),
                    "shuffled": ratio(swapped_in, inferred, home_each),
                },
            },
        }


def _predict(pipeline: TransferPipeline, measured: _Measured) -> None:
    """Fill in all errors of the model's own predictions."""
    model = pipeline.model
    world, device = model.world_model, model.device
    seen, others, cuts = measured.seen, measured.others, measured.cuts
    states = torch.stack([s.states for s in seen])  # [n, T, N, D], on the CPU
    latents = torch.stack([s.latents for s in seen])  # [n, S, Z]
    back_one, back_far = torch.zeros_like(latents), torch.zeros_like(latents)
    starts = range(0, len(seen), _BATCH)
    bar = tqdm(total=2 * len(seen), desc="predicting", disable=None)

    with bar:
        for start in starts:
            rows = np.arange(start, min(start + _BATCH, len(seen)))
            s, z, given = (x.to(device) for x in (states[rows], latents[rows], latents[others[rows]]))
            truth = s[:, 1:]
            zero = torch.zeros_like(z)
            cut = torch.from_numpy(cuts[rows])

            cache = world.new_cache()
            shuffled = []
            for t in range(STEPS):
                now = s[:, t : t + 1]
                chosen = torch.nonzero(cut == t)[:, 0]
                if len(chosen):
                    _cut(model, measured, rows[chosen.numpy()], s[chosen], states, t, cache.branch(chosen))
                steps = {"zero": zero[:, t : t + 1], "shuffled": given[:, t : t + 1]}
                made = {m: world(now, latent, cache.branch()).states[:, 0] for m, latent in steps.items()}
                made["model"] = world(now, z[:, t : t + 1], cache).states[:, 0]
                made["copy"] = s[:, t]
                shuffled.append(made["shuffled"])
                for m, state in made.items():
                    measured.one[m][rows, t] = state_error(state, truth[:, t]).cpu().numpy()
            at = cuts[rows]
            measured.cut["uncut"][rows] = measured.one["model"][rows, at]
            measured.cut["copy_uncut"][rows] = measured.one["copy"][rows, at]
            measured.cut["size_uncut"][rows] = latents[rows, at].norm(dim=-1).numpy()

            # This clip is B of the cycle: what the other's latents made of it is read again.
            pairs = torch.stack([s[:, :-1], torch.stack(shuffled, 1)], 2)  # [b, S, 2, N, D]
            back_one[rows] = model.infer(pairs.flatten(0, 1)).reshape(z.shape).cpu()

            first = s[:, :1]
            rolled = {
                m: world.rollout(first, latent).states
                for m, latent in (("model", z), ("zero", zero), ("shuffled", given))
            }
            rolled["copy"] = first
            for m, state in rolled.items():
                measured.far[m][rows] = state_error(state, truth).cpu().numpy()
            back_far[rows] = model.infer(torch.cat([first, rolled["shuffled"]], 1)).cpu()
            bar.update(len(rows))

        for start in starts:
            rows = np.arange(start, min(start + _BATCH, len(seen)))
            home = others[rows]  # A of the cycle, whose latents came back by way of B = rows
            s, z, one, far = (x.to(device) for x in (states[home], latents[home], back_one[rows], back_far[rows]))
            cache = world.new_cache()
            for t in range(STEPS):
                now = s[:, t : t + 1]
                made_back = world(now, one[:, t : t + 1], cache.branch()).states[:, 0]
                world(now, z[:, t : t + 1], cache)
                measured.cycle_one[rows, t] = state_error(made_back, s[:, t + 1]).cpu().numpy()
            measured.cycle_far[rows] = state_error(world.rollout(s[:, :1], far).states, s[:, 1:]).cpu().numpy()
            bar.update(len(rows))


def _cut(
    model: Any,
    measured: _Measured,
    rows: np.ndarray,
    s: Tensor,
    states: Tensor,
    t: int,
    cache: KeyValueCache,
) -> None:
    """Errors of windows ``rows`` (states ``s``) if another clip went on after frame ``t``."""
    after = states[measured.others[rows], t + 1].to(s.device)
    z = model.infer(torch.stack([s[:, t], after], 1))
    made = model.world_model(s[:, t : t + 1], z, cache).states[:, 0]
    measured.cut["cut"][rows] = state_error(made, after).cpu().numpy()
    measured.cut["copy_cut"][rows] = state_error(s[:, t], after).cpu().numpy()
    measured.cut["size_cut"][rows] = z[:, 0].norm(dim=-1).cpu().numpy()
