"""Nearest neighbours judged on an atlas: all that can be asked of a model that only reads latents, ours or another's.

The scenes of two atlases of one seed are the same, frame by frame, so that their figures can be compared. They are
other scenes than those of `lamdemo.evaluation.neighbours`, and a step counts from another share of the picture that
moves: figures of the two are not to be mixed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.evaluation.neighbours import CAMERA, Known, distances, judge_scenes
from lamdemo.latent_space.atlas import Atlas
from lamdemo.latent_space.recordings import CAMERA as AMOUNTS

_STILL = 1e-6  # motion of a camera in a scene that is only what rounding leaves


def judge_atlas(atlas: Atlas, seed: int = 0) -> dict[str, Any]:
    """Is the nearest step of another scene the same action? By the latents' Euclidean distance, against chance.

    Args:
        atlas: with procedural scenes, whose actions are known.
        seed: of the bootstrap over scenes.

    Returns:
        Figures as `lamdemo.evaluation.neighbours.judge_scenes` gives them, each question with ``z`` and ``chance``.

    Raises:
        LamdemoError: the atlas has fewer than two scenes.
    """
    rows = np.flatnonzero(atlas.kind >= 0)
    recordings = atlas.recording[rows]
    if len(np.unique(recordings)) < 2:
        raise LamdemoError("Neighbours need at least two scenes; make an atlas with some (--scenes).")
    kind = np.array(atlas.kinds)[atlas.kind[rows]]
    velocity = np.stack([atlas.known[name][rows] for name in AMOUNTS], 1)
    # The atlas has zooms as what is seen grows, scenes as the view does; signs are compared, and both are alike.
    _, scene = np.unique(recordings, return_inverse=True)
    moves = [
        (np.bincount(scene, np.abs(velocity[:, columns]).sum(1)) > _STILL)[scene]
        for columns in (slice(0, 2), slice(2, 3), slice(3, 4))
    ]
    known = Known(kind, np.select(moves, CAMERA, ""), ~np.isin(kind, CAMERA), velocity)
    return judge_scenes({"z": distances(atlas.latents[rows])}, known, recordings, seed)
