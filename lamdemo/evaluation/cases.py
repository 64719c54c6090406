"""Transfers whose truth is known: one action, carried out in two scenes.

A case is a folder, see `lamdemo.evaluation.case_folder`. Those made here are drawn by the training's own generator,
those of `lamdemo.evaluation.second_hand` are not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.data.scenes import KINDS, Kind, Photographs, SceneConfig, draw_cast, rendered, write_script
from lamdemo.evaluation.case_folder import FPS, kinds_of_cases, write_case, write_each
from lamdemo.evaluation.pictures import MOTION_WIDTH, at_motion_width, motion
from lamdemo.evaluation.scenes import photographs

ACTIONS: tuple[Kind, ...] = tuple(k for k in KINDS if k != "still")
_TRIES = 100
_MOVES = 0.5  # pixels a step, at MOTION_WIDTH across, from which a place counts as moving
_LEAST = 0.01  # share of the picture that must move, in the mean over the steps


def _moving_share(clip: np.ndarray) -> float:
    """Share of the picture that moves, in the mean over the steps of ``[T, H, W, 3]``."""
    return float((np.linalg.norm(motion(at_motion_width(clip)), axis=-1) > _MOVES).mean())


def write_cases(
    out: str | Path,
    cases: int,
    seed: int,
    *,
    photos: str | Path | None = None,
    steps: int = 8,
    size: int = 256,
    kind: Kind | None = None,
) -> list[Path]:
    """Make transfers with a known truth from photographs.

    Kinds of action take turns (without "still", of which there is nothing to transfer). A case is drawn anew
    where its source and its truth would be made of the same photograph, or where in either of them less
    than a hundredth of the picture moves (by half a pixel a step at 256 across, by optical flow): a thing out
    of view or an action too small to be seen has no right answer. ``case.json`` says how often that was.

    Args:
        out: folder to write to; is made, and must be empty.
        cases: how many.
        seed: of everything; a case depends on the seed and its number only.
        photos: folder of photographs; the bundled ones, never in training, by default.
        steps: of each action; clips have one frame more.
        size: side of the pictures, in pixels.
        kind: make this kind only.

    Returns:
        The cases' folders.

    Raises:
        LamdemoError: the folder is not empty, an argument is out of range, or there are fewer than two
            photographs.
    """
    out = Path(out)
    kinds = kinds_of_cases(out, cases, steps, size, kind, ACTIONS)
    bank = photographs(photos, 2, "Scenes need")
    return write_each(out, kinds, lambda i, chosen: _write_case(out, i, seed, chosen, bank, steps, size))


def _write_case(out: Path, index: int, seed: int, kind: Kind, photographs: Photographs, steps: int, size: int) -> Path:
    rng = np.random.default_rng([seed, index])
    shares: tuple[float, float] = (0.0, 0.0)
    redrawn = -1
    while min(shares) < _LEAST:
        redrawn += 1
        if redrawn == _TRIES:
            raise LamdemoError(f"No {kind} that can be seen was drawn; take photographs with more in them.")
        script = write_script(rng, steps + 1, SceneConfig(), kind)
        first = draw_cast(rng, script, len(photographs))
        second = draw_cast(rng, script, len(photographs), like=first)
        # What enters looks alike in both by design; nothing else may.
        acts = len(script.things) > 0 and kind not in ("enter", "leave")
        if second.photograph == first.photograph or (acts and second.skins[0] == first.skins[0]):
            continue
        source, truth = (rendered(script, cast, photographs, size) for cast in (first, second))
        shares = _moving_share(source), _moving_share(truth)
    about = {
        "kind": kind,
        "seed": seed,
        "index": index,
        "steps": steps,
        "size": size,
        "fps": FPS,
        "redrawn": redrawn,
        "moving_share": {"source": shares[0], "truth": shares[1]},
        "least_moving_share": _LEAST,
        "moves_above_pixels": _MOVES * size / MOTION_WIDTH,
    }
    return write_case(out / f"{index:04d}_{kind}", source, truth, about)
