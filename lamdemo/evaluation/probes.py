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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tqdm import tqdm

import lamdemo.evaluation.known_steps as known_steps
from lamdemo.core.errors import LamdemoError
from lamdemo.data.known_actions import IndexedClip, find_known_actions
from lamdemo.data.splits import Part, Split
from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.encoding import same_encoders
from lamdemo.evaluation.known_steps import LAGS, Examples, clip_examples, plan_stretches, scene_examples
from lamdemo.evaluation.probe_maps import COMPONENTS, components, fit_mlp, fit_ridge, fold_of, r_squared
from lamdemo.evaluation.report import describe_files
from lamdemo.video import find_videos

CLIPS = 96  # most training clips of a set of clips, without another number
TRAIN_SCENES, TEST_SCENES = 200, 80
_FOLDS = 3  # within one part: each third of its recordings is judged by what was fitted on the others
_LEAST_RECORDINGS = 4  # on a training side


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
        its_kind = examples.kinds[tested] == target.split("_")[0]
        of: dict[str, Any] = {}
        for (name, map_name), guesses in made.items():
            truth, guess = np.concatenate(guesses.truth)[:, picked], np.concatenate(guesses.guess)[:, picked]
            entry: dict[str, Any] = r_squared(truth, guess, examples.recordings[tested], seed=seed)
            if len(picked) == 1 and truth.std() > 1e-9 and guess.std() > 1e-9:
                # Blind to scale and offset, which differ between two owners' cars.
                entry["correlation"] = float(np.corrcoef(truth[:, 0], guess[:, 0])[0, 1])
            if its_kind.any():
                entry["own_kind"] = r_squared(
                    truth[its_kind], guess[its_kind], examples.recordings[tested][its_kind], seed=seed
                )
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
            fold = fold_of(names[rows], _FOLDS)
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
            baselines = _judge(examples, raw, folds, seed)
            for name in group:
                z = examples.latents[name]
                of_z = _judge(examples, {"z": [(z[a], z[b]) for a, b in folds]}, folds, seed)
                results[name][setting] = {
                    "fitted_on": _counts(examples, folds, 0),
                    "judged_on": _counts(examples, folds, 1),
                    "folds": len(folds),
                    "targets": {t: {**of_z[t], **baselines[t]} for t in of_z},
                }
                bar.update()
    return results


def _judged(
    probed: Mapping[str, Examples],
    part: Part | Literal["all"],
    groups: Sequence[Sequence[str]],
    seed: int,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Figures by set of examples, checkpoint and setting."""
    planned: dict[str, Mapping[str, Folds]] = {name: _settings_of(e, part) for name, e in probed.items()}
    parts = probed["scenes"].parts
    planned["scenes"] = {"across": [(np.flatnonzero(parts == "train"), np.flatnonzero(parts == "test"))]}
    total = sum(map(len, groups)) * sum(map(len, planned.values()))
    with tqdm(total=total, desc="probing", disable=None) as bar:
        return {name: _probe(e, planned[name], groups, seed, bar) for name, e in probed.items()}


def evaluate_probes(
    pipelines: Mapping[str, TransferPipeline],
    videos: Path | None,
    *,
    split: Split | str | Path | None = None,
    part: Part | Literal["all"] = "test",
    seed: int = 0,
    photos: str | Path | None = None,
    max_clips: int | None = None,
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
    if videos is not None and split is None:
        part = "all"

    with torch.no_grad():
        scenes, photographs = scene_examples(pipelines, groups, Path(photos) if photos else None, counts, seed)
        probed: dict[str, Examples] = {"scenes": scenes}
        chosen = {} if videos is None else _clips_by_set(Path(videos), split, part, most, seed)
        for name, clips in chosen.items():
            assert videos is not None
            stretches, left_out = plan_stretches(Path(videos), clips, part, fps, seed)
            skipped += left_out
            examples = clip_examples(pipelines, groups, Path(videos), stretches, name, skipped)
            if examples is not None:
                used += sorted({s.clip.clip for s in stretches})
                probed[name] = examples

        found = _judged(probed, part, groups, seed)
    settings = {
        "part": part,
        "seed": seed,
        "max_clips": max_clips,
        "fps": fps,
        "steps": known_steps.STEPS,
        "lags": {lag: list(of) for lag, of in LAGS.items()},
        "components": COMPONENTS,
        "scenes": {"fitted": counts[0], "judged": counts[1], "steps": known_steps.SCENE_STEPS, **photographs},
    }
    files = describe_files(videos, used) if videos is not None and used else {"files": 0}
    about = {"evaluation": "probes", "settings": settings, "videos": {**files, "skipped": skipped}}
    return {name: {**about, **_result(found, name)} for name in pipelines}


def _result(found: Mapping[str, Mapping[str, dict[str, Any]]], name: str) -> dict[str, Any]:
    """Figures of one checkpoint: ``headline``, ``scenes`` and ``clips``."""
    sets = {s: of[name] for s, of in found.items() if s != "scenes" and of[name]}
    scenes = found["scenes"][name]["across"]
    return {"headline": _headline(scenes, sets), "scenes": scenes, "clips": sets}


def _clips_by_set(
    videos: Path, split: Split | None, part: Part | Literal["all"], most: int, seed: int
) -> dict[str, list[tuple[IndexedClip, str]]]:
    """Clips with known actions and their parts, by set: some to fit on, and half as many to judge on."""
    clips = find_known_actions(videos)
    there = {p.relative_to(videos).as_posix() for p in find_videos(videos)} if clips else set()
    found: dict[str, list[tuple[IndexedClip, str]]] = {}
    for name in sorted({c.group for c in clips if c.clip in there}):
        mine = [c for c in clips if c.group == name and c.clip in there]
        if split is None or part == "all":
            found[name] = _chosen([(c, "all") for c in mine], most, seed)
            continue
        placed = [(c, split.part(c.clip)) for c in mine]
        found[name] = _chosen([m for m in placed if m[1] == "train"], most, seed)
        if part != "train":
            found[name] += _chosen([m for m in placed if m[1] == part], max(most // 2, 1), seed)
    return found


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
