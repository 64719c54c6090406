"""The result that is there when the page opens. ``python -m lamdemo.ui.opening`` makes it anew."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lamdemo.errors import LamdemoError
from lamdemo.ui.views import Example, read_examples
from lamdemo.ui.work import Finished, Order, SourceView, TargetView, look_at_source, look_at_target, make

FOLDER = "opening"


@dataclass(frozen=True)
class Opening:
    """A result with its inputs.

    Attributes:
        source: of the source.
        target: of the target.
        done: the transfer.
    """

    source: SourceView
    target: TargetView
    done: Finished


def read(examples: Path) -> Opening | None:
    """The opening in a folder of examples, or None where it was not made or lacks a file."""
    folder = examples / FOLDER
    try:
        data = json.loads((folder / "opening.json").read_text(encoding="utf-8"))
        done = Finished.load(folder)
        clip, photo = examples / data["clip"], examples / data["photo"]
        source = SourceView(
            path=str(clip),
            begin=0.0,
            seconds=data["seconds"],
            fps=data["fps"],
            sizes=tuple(data["sizes"]),
            aspect=data["source_aspect"],
            strip=folder / "filmstrip.jpg",
            video=folder / "source.mp4",
            checkpoint=data["checkpoint"],
            far=tuple(data.get("far", ())),
        )
        target = TargetView(
            path=str(photo),
            seconds=0.0,
            moment=0.0,
            picture=folder / "target.jpg",
            aspect=data["target_aspect"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    files = (clip, photo, source.strip, source.video, target.picture)
    made = (done.transfer, done.source, done.idle, done.side_by_side, done.latents)
    return Opening(source, target, done) if all(path.is_file() for path in (*files, *made)) else None


def write(examples: Path, pair: Example, checkpoint: str | None = None) -> Finished:
    """Make the opening of a pair.

    Args:
        examples: folder of the examples; what is in its folder ``opening`` is replaced.
        pair: the clip and the picture, both in that folder.
        checkpoint: see `lamdemo.pipeline.TransferPipeline.from_pretrained`.

    Raises:
        LamdemoError: there is no checkpoint, or a file cannot be read.
    """
    from lamdemo.pipeline import TransferPipeline

    pipeline = TransferPipeline.from_pretrained(checkpoint)
    with tempfile.TemporaryDirectory(dir=examples, prefix=".opening-") as name:
        folder = Path(name)
        source = look_at_source(pipeline, str(pair.clip), 0.0, folder)
        target = look_at_target(str(pair.photo), 0.0, folder)
        order = Order(str(pair.clip), str(pair.photo))
        *_, done = make(pipeline, order, folder, latents=source.latents)
        assert isinstance(done, Finished)
        done.save()
        about = {
            "clip": str(pair.clip.relative_to(examples)),
            "photo": str(pair.photo.relative_to(examples)),
            "seconds": source.seconds,
            "fps": source.fps,
            "sizes": source.sizes,
            "far": source.far,
            "source_aspect": source.aspect,
            "target_aspect": target.aspect,
            "checkpoint": pipeline.checkpoint,
        }
        (folder / "opening.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        final = examples / FOLDER
        shutil.rmtree(final, ignore_errors=True)
        # Not the folder itself, which only its owner may open.
        final.mkdir()
        for file in folder.iterdir():
            shutil.copy(file, final / file.name)
    return Finished.load(final)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m lamdemo.ui.opening", description=__doc__)
    parser.add_argument("--checkpoint", help="folder, bundled name or Hub id; the bundled default without it")
    parser.add_argument("--pair", type=int, default=0, help="which pair of examples/pairs.json, from 0")
    arguments = parser.parse_args()
    examples = Path(__file__).resolve().parents[2] / "examples"
    try:
        pairs = read_examples(examples)
        if not 0 <= arguments.pair < len(pairs):
            raise LamdemoError(f"There are {len(pairs)} pairs of examples; choose one from 0.")
        done = write(examples, pairs[arguments.pair], arguments.checkpoint)
    except LamdemoError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    print(f"{done.made} steps in {examples.name}/{FOLDER}")


if __name__ == "__main__":
    main()
