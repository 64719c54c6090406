"""Transfers whose truth is known: one action, carried out in two scenes.

A case is a folder with ``source.mp4`` (the action in one scene), ``target.png`` (another scene),
``truth.mp4`` (the same action in that scene, from that picture on) and ``case.json`` (its kind).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from lamdemo.data.scenes import (
    KINDS,
    Cast,
    Kind,
    Photographs,
    SceneConfig,
    Script,
    draw_cast,
    render,
    write_script,
)
from lamdemo.data.videos import bundled_photographs, photographs_in
from lamdemo.errors import LamdemoError
from lamdemo.evaluation.pictures import MOTION_WIDTH, at_motion_width, motion
from lamdemo.models.checkpoint import write_safely
from lamdemo.video import write_image, write_video

ACTIONS: tuple[Kind, ...] = tuple(k for k in KINDS if k != "still")
FPS = 4.0
_BANK = (576, 768)  # height and width of photographs in the bank
_TRIES = 100
_MOVES = 0.5  # pixels a step, at MOTION_WIDTH across, from which a place counts as moving
_LEAST = 0.01  # share of the picture that must move, in the mean over the steps


@dataclass(frozen=True)
class Case:
    """One transfer to be judged: its folder, and the kind of action ("" where it is not said)."""

    folder: Path
    kind: str

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name


def find_cases(folder: str | Path) -> list[Case]:
    """The cases in a folder, sorted by name.

    Raises:
        LamdemoError: there is none, or a case's ``case.json`` is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LamdemoError(f"There is no folder {folder.name}; give one that `lamdemo scenes` wrote.")
    cases = []
    for place in sorted(p.parent for p in folder.glob("*/target.png")):
        missing = [n for n in ("source.mp4", "truth.mp4") if not (place / n).is_file()]
        if missing:
            raise LamdemoError(f"The case {place.name} lacks {missing[0]}; add it or remove the case.")
        kind = ""
        if (place / "case.json").is_file():
            try:
                kind = str(json.loads((place / "case.json").read_text(encoding="utf-8")).get("kind", ""))
            except (OSError, ValueError, AttributeError) as error:
                raise LamdemoError(f"case.json of the case {place.name} is damaged; mend or remove it.") from error
        cases.append(Case(place, kind))
    if not cases:
        raise LamdemoError(
            f"The folder {folder.name} holds no case; a case is a folder with source.mp4, target.png and truth.mp4."
        )
    return cases


def _moving_share(clip: np.ndarray) -> float:
    """Share of the picture that moves, in the mean over the steps of ``[T, H, W, 3]``."""
    return float((np.linalg.norm(motion(at_motion_width(clip)), axis=-1) > _MOVES).mean())


def _rendered(script: Script, casts: list[Cast], photographs: Photographs, size: int) -> np.ndarray:
    """Clips uint8 ``[2, T, size, size, 3]``, drawn at twice the size: texture that moves must not glitter."""
    clips: Tensor = render([script] * len(casts), casts, photographs, 2 * size)
    b, t = clips.shape[:2]
    clips = F.avg_pool2d(clips.flatten(0, 1), 2).reshape(b, t, 3, size, size)
    return (clips.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 1, 3, 4, 2).numpy()


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
    if cases < 1 or not 1 <= steps <= 64 or not 32 <= size <= 1024 or size % 2:
        raise LamdemoError(
            "Scenes need one case or more, 1 to 64 steps, and an even size from 32 to 1024 pixels; change it."
        )
    if kind is not None and kind not in ACTIONS:
        raise LamdemoError(f"There is no kind of action {kind!r} to make; choose one of {', '.join(ACTIONS)}.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LamdemoError(f"{out.name} is not an empty folder; choose a new one.")
    photographs = Photographs(photographs_in(photos or bundled_photographs(), _BANK))
    if len(photographs) < 2:
        raise LamdemoError("Scenes need at least two photographs; add some to the folder.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        return [
            _write_case(out, i, seed, kind or ACTIONS[i % len(ACTIONS)], photographs, steps, size)
            for i in tqdm(range(cases), desc="writing", disable=None)
        ]
    except OSError as error:
        raise LamdemoError(f"The cases cannot be written to {out.name}; choose another place.") from error


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
        source, truth = _rendered(script, [first, second], photographs, size)
        shares = _moving_share(source), _moving_share(truth)
    folder = out / f"{index:04d}_{kind}"
    folder.mkdir()
    # Hardly compressed: the truth should be the scene, not the codec.
    write_video(folder / "source.mp4", source, FPS, crf=10)
    write_video(folder / "truth.mp4", truth, FPS, crf=10)
    write_image(folder / "target.png", truth[0])
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
    # Written last: a case without it was cut short.
    write_safely(folder / "case.json", (json.dumps(about, indent=1) + "\n").encode())
    return folder
