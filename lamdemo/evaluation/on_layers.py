"""Errors where they matter: on the thing that acts, in the hole it leaves, and whether its outline was found.

Cameras move whole pictures, things small parts of them: an error over the picture hardly tells whether a thing moved as
a thing. These are measured where the truth's layers say (see `lamdemo.evaluation.case_folder.Layers`).
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from lamdemo.evaluation.case_folder import Layers

MEASURES = ("on_thing", "on_thing_last", "in_hole", "in_hole_last")
IOU_AFTER = 6  # steps; a matte that fades does so by then
LEAST = 0.003  # share of the picture that a region must cover to be measured


def layer_errors(clip: np.ndarray, truth: np.ndarray, layers: Layers) -> dict[str, float]:
    """Mean absolute error of pictures where the truth's thing is, and where it has left a hole.

    Args:
        clip: uint8 ``[T, H, W, 3]``.
        truth: the same.
        layers: of the truth.

    Returns:
        ``on_thing`` and ``in_hole``, from 0 to 1, mean over the steps after which there is a thing or a hole that
        covers `LEAST` of the picture at least; ``on_thing_last`` and ``in_hole_last`` after the last step. NaN where
        there is none.
    """
    height, width = layers.matte.shape[1:]
    errors = [
        cv2.resize(cv2.absdiff(a, b).astype(np.float32).mean(-1) / 255, (width, height), interpolation=cv2.INTER_AREA)
        for a, b in zip(clip[1:], truth[1:], strict=True)
    ]
    found = {}
    for name, regions in (("on_thing", layers.matte > 127), ("in_hole", layers.hole > 0)):
        means = [
            float(error[region].mean()) if region.mean() >= LEAST else math.nan
            for error, region in zip(errors, regions[1:], strict=True)
        ]
        known = [m for m in means if math.isfinite(m)]
        found[name] = float(np.mean(known)) if known else math.nan
        found[f"{name}_last"] = means[-1]
    return found


def thing_iou(matte: np.ndarray | None, layers: Layers) -> float:
    """Intersection over union of a model's matte and the truth's after `IOU_AFTER` steps (or the last of fewer).

    Args:
        matte: float ``[H, W]`` after that step, from 0 to 1; None where the model has none.
        layers: of the truth.

    Returns:
        From 0 to 1; NaN without a matte, or where the truth's covers less than `LEAST`.
    """
    true = layers.matte[min(IOU_AFTER, len(layers.matte) - 1)] > 127
    if matte is None or true.mean() < LEAST:
        return math.nan
    found = cv2.resize(matte.astype(np.float32), true.shape[::-1], interpolation=cv2.INTER_AREA) > 0.5
    return float((found & true).sum() / (found | true).sum())
