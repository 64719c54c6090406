"""Results of the examples that are there before anybody asks. ``python -m lamdemo.ui.prepared`` makes them anew."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.core.latent_actions import LatentActions
from lamdemo.core.places import shipped
from lamdemo.ui.inputs import SourceView, TargetView, look_at_source, look_at_target
from lamdemo.ui.views import Example, read_examples
from lamdemo.ui.work import Finished, Order, make
from lamdemo.video import read_frame, write_image

EXAMPLES = shipped("examples")
FOLDER = "prepared"
_LATENTS = "source_latents.npz"  # of all of the source's steps, as read at a glance
_SIDE = 640  # longest side in pixels of a prepared result
_POSTER = 180  # of the still picture on an example's button


@dataclass(frozen=True)
class Prepared:
    """A result with its inputs."""

    source: SourceView  # of the source
    target: TargetView  # of the target
    done: Finished  # the transfer


def poster(examples: Path, example: Example) -> Path | None:
    """The still picture of an example's clip, or None where it was not prepared."""
    path = examples / FOLDER / example.name / "poster.jpg"
    return path if path.is_file() else None


def read(examples: Path, example: Example) -> Prepared | None:
    """The prepared result of an example, or None where it was not made or lacks a file."""
    folder = examples / FOLDER / example.name
    try:
        data = json.loads((folder / "prepared.json").read_text(encoding="utf-8"))
        done = Finished.load(folder)
        source = SourceView(
            path=str(example.clip),
            begin=0.0,
            seconds=data["seconds"],
            fps=data["fps"],
            sizes=tuple(data["sizes"]),
            aspect=data["source_aspect"],
            strip=folder / "filmstrip.jpg",
            video=folder / "clip.mp4",
            latents=LatentActions.load(folder / _LATENTS),
            checkpoint=data["checkpoint"],
            far=tuple(data.get("far", ())),
        )
        target = TargetView(
            path=str(example.photo),
            seconds=0.0,
            moment=0.0,
            picture=folder / "target.jpg",
            aspect=data["target_aspect"],
        )
    except (OSError, ValueError, KeyError, TypeError, LamdemoError):
        return None
    files = (source.strip, source.video, target.picture)
    made = (done.transfer, done.source, done.idle, done.side_by_side, done.gif, done.card, done.latents)
    return Prepared(source, target, done) if all(path.is_file() for path in (*files, *made)) else None


def write(examples: Path, example: Example, checkpoint: str | None = None) -> Finished:
    """Make the result of an example.

    Args:
        examples: folder of the examples; what is in its folder of prepared results for this one is replaced.
        example: the clip and the picture, both in that folder.
        checkpoint: see `lamdemo.engine.TransferPipeline.from_pretrained`.

    Raises:
        LamdemoError: there is no checkpoint, or a file cannot be read.
    """
    from lamdemo.engine import TransferPipeline

    pipeline = TransferPipeline.from_pretrained(checkpoint)
    with tempfile.TemporaryDirectory(dir=examples, prefix=".prepared-") as name:
        folder = Path(name)
        source = look_at_source(pipeline, str(example.clip), 0.0, folder)
        target = look_at_target(str(example.photo), 0.0, folder)
        first, last = source.liveliest
        order = Order(str(example.clip), str(example.photo), first=first, last=last)
        *_, done = make(pipeline, order, folder, latents=source.latents, max_side=_SIDE)
        assert isinstance(done, Finished)
        done.save()
        assert source.latents is not None
        source.latents.save(folder / _LATENTS)
        write_image(folder / "poster.jpg", _still(example.clip, first / source.fps))
        about = {
            "clip": str(example.clip.relative_to(examples)),
            "photo": str(example.photo.relative_to(examples)),
            "seconds": source.seconds,
            "fps": source.fps,
            "sizes": [round(size, 4) for size in source.sizes],
            "far": source.far,
            "source_aspect": source.aspect,
            "target_aspect": target.aspect,
            "checkpoint": pipeline.checkpoint,
        }
        (folder / "prepared.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        final = examples / FOLDER / example.name
        shutil.rmtree(final, ignore_errors=True)
        # Not the folder itself, which only its owner may open.
        final.mkdir(parents=True)
        for file in folder.iterdir():
            shutil.copy(file, final / file.name)
    return Finished.load(final)


def _still(clip: Path, second: float) -> np.ndarray:
    picture = read_frame(clip, second, _POSTER * 2)
    size = round(_POSTER * picture.shape[1] / picture.shape[0]), _POSTER
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m lamdemo.ui.prepared", description=__doc__)
    parser.add_argument("--checkpoint", help="folder, bundled name or Hub id; the bundled default without it")
    parser.add_argument("--only", type=int, help="which pair of examples/pairs.json, from 0; all without it")
    arguments = parser.parse_args()
    try:
        pairs = read_examples(EXAMPLES)
        if arguments.only is not None and not 0 <= arguments.only < len(pairs):
            raise LamdemoError(f"There are {len(pairs)} pairs of examples; choose one from 0.")
        for example in pairs if arguments.only is None else [pairs[arguments.only]]:
            done = write(EXAMPLES, example, arguments.checkpoint)
            print(f"{done.made} steps in {EXAMPLES.name}/{FOLDER}/{example.name}")
    except LamdemoError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
