"""How good the latent action space is as a space: are neighbours alike, can one reckon in it, what is its zero?

Three questions, each with what chance and methods without a model give:

- `lamdemo.evaluation.neighbours`: is the nearest step of another recording the same action?
- `lamdemo.evaluation.arithmetic`: does z of A plus z of B do both, does the reverse lead back, does half do half?
- `zero_figures`: does a latent of zeros do nothing?

Procedural scenes are made of photographs that are never trained on; the same seed gives the same scenes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch

from lamdemo.core.errors import LamdemoError
from lamdemo.data.scenes import Photographs
from lamdemo.data.splits import Part, Split
from lamdemo.data.videos import bundled_photographs
from lamdemo.engine import TransferPipeline
from lamdemo.engine.rollout import Rollout
from lamdemo.evaluation.arithmetic import FACTORS, LEAST, PAIRS, STEPS, evaluate_sums
from lamdemo.evaluation.encoding import same_encoders
from lamdemo.evaluation.neighbours import (
    CLEAR,
    CLIP_STEPS,
    SCENE_STEPS,
    SEEN,
    scene_neighbours,
    steering_neighbours,
)
from lamdemo.evaluation.pictures import MOTION_WIDTH
from lamdemo.evaluation.report import describe_files
from lamdemo.evaluation.scenes import BANK, photographs
from lamdemo.evaluation.statistics import mean_over

CASES = 60  # of arithmetic
SCENES = 450  # for neighbours, of `SCENE_STEPS` steps each
CLIPS = 32  # recordings with known steering, of each part
PHOTOGRAPHS = 24  # that zero is carried out on
_CONSTANTS = {
    "scene_steps": SCENE_STEPS,
    "least_moving_share_of_a_step": SEEN,
    "clear_turn": CLEAR,
    "clip_steps": CLIP_STEPS,
    "sum_steps": STEPS,
    "pairs": [" + ".join(p) for p in PAIRS],
    "least_moving_share_of_a_case": LEAST,
    "factors": list(FACTORS),
}


def counts(max_clips: int | None) -> dict[str, int]:
    """How much is judged: ``max_clips`` cases of arithmetic, two at least, and in proportion scenes and the rest."""
    cases = max(min(max_clips or CASES, CASES), 2)
    share = cases / CASES
    return {
        "cases": cases,
        "scenes": max(round(SCENES * share), 18),
        "clips": max(round(CLIPS * share), 4),
        "photographs": max(round(PHOTOGRAPHS * share), 2),
    }


def evaluate_space(
    pipelines: Mapping[str, TransferPipeline],
    videos: str | Path | None,
    *,
    split: Split | str | Path | None = None,
    part: Part | Literal["all"] = "test",
    photos: str | Path | None = None,
    max_clips: int | None = None,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Judge the latent action spaces of several checkpoints.

    Args:
        pipelines: of the models to judge, by name.
        videos: folder of clips with an index of their actions (see `lamdemo.data.known_actions`), of which those
            with steering are judged; only scenes are without it.
        split: which clips are for what; all of them are judged without it.
        part: on which recordings to judge; for the test part those of validation are judged beside it.
        photos: folder of photographs for the scenes; the bundled ones, never in training, by default.
        max_clips: at most so many cases of arithmetic, and two at least; fewer scenes, clips and photographs in
            proportion.
        seed: of scenes, cases and the bootstrap.

    Returns:
        By checkpoint, plain numbers ready for JSON; figures have 95% intervals by bootstrap over recordings or cases:

        - ``headline``;
        - ``neighbours``: ``scenes`` with ``nine`` kinds, the ``four`` that one step can show (without "both"),
          ``four_and_both``, ``shared`` (the two have the camera's motion or that something moves in common),
          ``kinds``, ``direction`` (right kind and direction, among all steps but those of "both"),
          ``direction_of_kind`` (among steps of the kind), ``confusion`` (rows are queries); and ``steering``, by
          set. Each question has ``z``, ``states``, ``flow`` and ``chance``, see
          `lamdemo.evaluation.neighbours.rank_one`;
        - ``arithmetic``: ``sum`` and ``interpolation``, each with ``better`` (share of cases nearer to the truth
          than A alone and than B alone), ``over_either`` (error over that of the better of both) and
          ``over_copy``; ``sum`` also by ``pairs`` of kinds and with ``latents`` (distance of z of A plus z of B
          from z of both at once, over the latter's size); ``reversal`` (what is left after A and its reverse, over
          what A does; ``shuffled``: after A and another's reverse); ``strength``;
        - ``zero``, see `zero_figures`.

    Raises:
        LamdemoError: there are too few photographs, or the index or an action file is damaged.
    """
    many = counts(max_clips)
    groups = same_encoders(pipelines)
    fps = pipelines[groups[0][0]].fps
    if any(p.fps != fps for p in pipelines.values()):
        raise LamdemoError("The checkpoints step at different rates; judge them one by one.")
    split = split if split is None or isinstance(split, Split) else Split.read(split)
    folder = Path(photos) if photos is not None else bundled_photographs()
    bank = photographs(folder, 4, "Judging the space needs")
    clips = Path(videos) if videos is not None else None
    with torch.no_grad():
        scenes = scene_neighbours(pipelines, groups, bank, many["scenes"], seed)
        steering = steering_neighbours(pipelines, groups, clips, split, part, many["clips"], seed)
        sums = evaluate_sums(pipelines, groups, bank, many["cases"], seed)
        zero = {n: zero_figures(p, _pictures(bank, many["photographs"]), seed) for n, p in pipelines.items()}
    settings = {
        "part": part if split is not None else "all",
        "seed": seed,
        "max_clips": max_clips,
        **many,
        "fps": fps,
        **_CONSTANTS,
        "photographs_of": describe_files(folder),
    }
    return {
        name: {
            "evaluation": "space",
            "settings": settings,
            "headline": _headline(scenes[name], steering[name], sums[name], zero[name]),
            "neighbours": {"scenes": scenes[name], "steering": steering[name]},
            "arithmetic": sums[name],
            "zero": zero[name],
        }
        for name in pipelines
    }


def _pictures(bank: Photographs, count: int) -> list[np.ndarray]:
    """Photographs as targets, uint8 ``[H, W, 3]``, as wide as motion is measured at."""
    height = round(MOTION_WIDTH * BANK[0] / BANK[1])
    some = bank.pictures[:count].permute(0, 2, 3, 1).numpy()
    return [cv2.resize(p, (MOTION_WIDTH, height), interpolation=cv2.INTER_AREA) for p in some]


def zero_figures(pipeline: TransferPipeline, pictures: Sequence[np.ndarray], seed: int) -> dict[str, Any]:
    """What `STEPS` steps of a latent of zeros do to pictures.

    Returns:
        ``motion``: mean length of the flow a step, in percent of the picture's width, with a 95% interval over
        pictures; ``change``: mean absolute difference of the last frame, in gray levels; ``state``: the same of
        the state; ``size_of_nothing``: norm of the latent between two equal frames.
    """
    zero = np.zeros((STEPS, pipeline.model.config.bottleneck.channels), np.float32)
    rows: dict[str, list[float]] = {k: [] for k in ("motion", "change", "state", "size_of_nothing")}
    for picture in pictures:
        rollout = Rollout(pipeline, picture, history=0)
        steps = [rollout.step(z) for z in zero]
        lengths = [np.linalg.norm(s.flow, axis=-1).mean() / picture.shape[1] for s in steps if s.flow is not None]
        rows["motion"].append(100 * float(np.mean(lengths)))
        rows["change"].append(float(np.abs(steps[-1].frame.astype(np.int16) - picture).mean()))
        rollout.reset()
        rows["state"].append(float(np.abs(steps[-1].state - rollout.state).mean()))
        rows["size_of_nothing"].append(float(pipeline.infer(np.stack([picture, picture]), refinement=0).size[0]))
    return {"pictures": len(pictures)} | {k: mean_over(v, seed=seed) for k, v in rows.items()}


def _headline(
    scenes: Mapping[str, Any], steering: Mapping[str, Any], sums: Mapping[str, Any], zero: Mapping[str, Any]
) -> dict[str, Any]:
    turns = {f"steering_{k}": v["turns"]["z"] for k, v in steering.items()}
    return {
        "kind_of_four": scenes["four"]["z"],
        "kind_of_nine": scenes["nine"]["z"],
        "direction": scenes["direction"]["all"]["z"],
        **turns,
        "sum_better": sums["sum"]["better"]["sum"],
        "left_after_reversal": sums["reversal"]["own"]["picture"],
        "motion_of_zero": zero["motion"],
    }
