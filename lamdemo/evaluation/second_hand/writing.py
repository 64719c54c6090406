"""Writing cases by the second hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from lamdemo.data.videos import bundled_photographs
from lamdemo.evaluation.case_folder import FPS, Layers, kinds_of_cases, write_case, write_each
from lamdemo.evaluation.second_hand.bank import Bank, bundled_things, entries
from lamdemo.evaluation.second_hand.drawing import KINDS, Kind, draw

_HAND = 2  # part of every seed, so that no other generator draws the same numbers


def write_second_hand(
    out: str | Path,
    cases: int,
    seed: int,
    *,
    things: Sequence[str | Path] | None = None,
    backgrounds: Sequence[str | Path] | None = None,
    part: Literal["train", "test"] = "test",
    steps: int = 7,
    size: int = 256,
    kind: Kind | None = None,
) -> list[Path]:
    """Make transfers with a known truth, by code that shares nothing with the training's scenes but the files.

    Kinds take turns. A case depends on the seed, its number and the pictures only.

    Args:
        out: folder to write to; is made, and must be empty.
        cases: how many.
        seed: of everything.
        things: folders of cut-outs with alpha; the bundled ones by default.
        backgrounds: folders of photographs; the bundled ones by default, which training never sees.
        part: of the pictures, by their sources: "test" are those that training never sees.
        steps: of each action; clips have one frame more.
        size: height of the sources, in pixels; targets are an eighth higher, mostly.
        kind: make this kind only.

    Returns:
        The cases' folders.

    Raises:
        LamdemoError: the folder is not empty, an argument is out of range, or there are too few pictures.
    """
    out = Path(out)
    kinds = kinds_of_cases(out, cases, steps, size, kind, KINDS)
    cutouts = entries([Path(f) for f in things or (bundled_things(),)], part)
    # Of the bundled photographs none is ever trained on.
    places = entries([Path(f) for f in backgrounds], part) if backgrounds else entries([bundled_photographs()], "all")
    bank = Bank(cutouts, places)

    def write(i: int, chosen: Kind) -> Path:
        drawn = draw(chosen, np.random.default_rng([_HAND, seed, i]), bank, i // len(KINDS), steps, size)
        truth = drawn.truth
        layers = Layers.of(truth.matte, truth.hole, enters=chosen == "enter") if drawn.acts else None
        about = {
            "hand": "other",
            "kind": chosen,
            "seed": seed,
            "index": i,
            "part": part,
            "steps": steps,
            "size": size,
            "fps": FPS,
            "files": drawn.files,
        }
        return write_case(out / f"{i:04d}_{chosen}", drawn.source, truth.frames, about, layers)

    return write_each(out, kinds, write)
