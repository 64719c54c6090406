"""``lamdemo transfer``: the action of a clip on another picture, as files."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lamdemo.cli.common import (
    Checkpoint,
    Device,
    NoiseSeed,
    Repeat,
    Reverse,
    SourceRange,
    Span,
    Strength,
    TargetTime,
    Temperature,
    appearing_whole,
    checked_place,
    command_line,
    loaded,
    some_path,
)
from lamdemo.core.devices import AUTO
from lamdemo.core.errors import LamdemoError, as_text

if TYPE_CHECKING:
    import numpy as np

    from lamdemo.engine import LatentActions
    from lamdemo.jobs.transfer import TransferRequest

_SOURCE_SIDE = 640  # pixels: the encoder sees fewer, and the panel beside the transfer shows no more
_PANEL = 360  # pixels down of each panel of side_by_side.mp4

Source = Annotated[
    Path,
    typer.Argument(parser=some_path, metavar="SOURCE", help="Clip with the action, or a latents.npz written before."),
]
Target = Annotated[Path, typer.Argument(parser=some_path, metavar="TARGET", help="Picture to act on, or a clip.")]
Out = Annotated[Path, typer.Option(parser=some_path, metavar="DIR", help="Folder for the four results.")]


def transfer(
    ctx: typer.Context,
    source: Source,
    target: Target,
    out: Out,
    checkpoint: Checkpoint = None,
    source_range: SourceRange = None,
    target_time: TargetTime = None,
    strength: Strength = 1.0,
    reverse: Reverse = False,
    repeat: Repeat = 1,
    seed: NoiseSeed = 0,
    temperature: Temperature = 0.0,
    max_steps: Annotated[
        int, typer.Option(min=1, max=256, metavar="N", help="Steps taken from the source at most.")
    ] = 32,
    fps: Annotated[
        float | None,
        typer.Option(min=0.1, max=60, metavar="F", help="Steps a second; the checkpoint's own without it."),
    ] = None,
    smooth: Annotated[
        int,
        typer.Option(min=0, max=8, metavar="K", help="Frames to add between two steps."),
    ] = 2,
    device: Device = AUTO,
) -> None:
    """Carry the action in a clip over to another picture.

    Writes [bold]transfer.mp4[/], [bold]side_by_side.mp4[/] (source, target and transfer, in step),
    [bold]latents.npz[/] (the actions as applied, to use as a SOURCE again) and [bold]report.json[/].

    [bold]Examples[/]

    [cyan]lamdemo transfer walk.mp4 street.jpg --out result[/]

    [cyan]lamdemo transfer walk.mp4 street.jpg --out back --source-range 1.5:4 --reverse[/]

    [cyan]lamdemo transfer result/latents.npz other.mp4 --target-time 2 --out again[/]
    """
    import numpy as np
    from tqdm import tqdm

    from lamdemo.engine import ActionEdit, LatentActions, TransferStep, measure
    from lamdemo.jobs.transfer import Transferred, TransferRequest
    from lamdemo.jobs.transfer import transfer as run

    begun = time.monotonic()
    timing: dict[str, float] = {}

    def lap(name: str) -> None:
        timing[name] = round(time.monotonic() - begun - sum(timing.values()), 3)

    checked_place(out, folder=True)
    edit = ActionEdit(strength, reverse, repeat)
    pipeline = loaded(checkpoint, device)
    lap("load")
    shown, actions = None, None
    if source.suffix.lower() == ".npz":
        if fps is not None or temperature:
            raise LamdemoError(f"{source.name} holds actions already; leave out --fps and --temperature.")
        actions, available = _stored(source, source_range, max_steps)
        rate = actions.fps
    else:
        rate = fps or pipeline.fps
        shown, available = watched(source, rate, source_range, max_steps, smooth)
    past = aim(target, target_time, rate, pipeline.model.config.world_model.context)
    # A transfer that is too long is refused and not cut.
    request = TransferRequest(shown, past, rate, edit, smooth, max_steps * repeat, temperature, seed, actions)
    made: Transferred | None = None
    with tqdm(total=request.steps + 1, desc="transfer", unit="step", leave=False, disable=None) as bar:
        for event in run(pipeline, request, keep=lambda step: step):
            if isinstance(event, LatentActions):
                lap("read and infer")
            elif isinstance(event, TransferStep):
                bar.update()
                if event.index == request.steps:
                    lap("transfer")
            elif isinstance(event, Transferred):
                made = event
    assert made is not None
    scores, verdict = made.out_of_distribution, made.verdict
    measures = measure(made.steps, made.actions)
    lap("judge")

    with appearing_whole(out) as folder:
        _write_pictures(folder, np.stack(made.smooth), rate * (smooth + 1), request)
        made.actions.save(folder / "latents.npz")
        lap("write")
        report = {
            "inputs": {
                "source": source.name,
                "source_range": str(source_range) if source_range else None,
                "target": target.name,
                "target_time": target_time,
                "target_context": len(past),
            },
            "checkpoint": {
                "name": pipeline.name,
                "sha256": pipeline.checkpoint,
                "family": pipeline.family,
            },
            "settings": {
                "strength": strength,
                "reverse": reverse,
                "repeat": repeat,
                "seed": seed,
                "temperature": temperature,
                "max_steps": max_steps,
                "fps": rate,
                "smooth": smooth,
                "device": str(pipeline.model.device),
            },
            "steps": {"available": available, "used": request.span, "made": len(made.actions)},
            "size": {"width": past.shape[2], "height": past.shape[1]},
            "verdict": None if verdict is None else verdict.as_dict(),
            "measures": {name: round(value, 4) for name, value in measures.items()},
            "familiarity": None if scores is None else scores.as_dict(),
            "seconds": {**timing, "all": round(time.monotonic() - begun, 3)},
            **about(ctx.obj or []),
        }
        text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
        (folder / "report.json").write_text(as_text(text), encoding="utf-8")
    cut = f" of {available}, see --max-steps" if available > request.span else ""
    typer.echo(f"{out / 'transfer.mp4'} ({request.span} steps{cut})")
    if verdict is not None:
        typer.echo(verdict.sentence)
    if scores is not None and scores.warning:
        typer.echo(f"warning: {scores.warning}")


def watched(source: Path, fps: float, part: Span | None, max_steps: int, smooth: int) -> tuple[np.ndarray, int]:
    """The source's frames ``[S * (smooth + 1) + 1, H, W, 3]``, of which the model sees every (smooth + 1)th.

    Also how many steps there would have been without the limit.

    Raises:
        LamdemoError: it is no clip, or the range holds no step or too many.
    """
    from lamdemo.video import DEFAULT_LIMITS, probe, read_clip

    info = probe(source)
    if info.is_image or round(info.fps * info.seconds) < 2:
        raise LamdemoError(
            f"{source.name} is a single picture; an action is what happens between frames, so give a clip."
        )
    part = part or Span()
    if part.start >= info.seconds:
        raise LamdemoError(f"{source.name} ends after {info.seconds:.3g} seconds; start --source-range before that.")
    end = info.seconds if part.end is None else min(part.end, info.seconds)
    most = DEFAULT_LIMITS.max_seconds
    if end - part.start > most:
        raise LamdemoError(
            f"{end - part.start:.0f} seconds of {source.name} are more than the {most:g} that are read at "
            "once; choose a part with --source-range."
        )
    finer = smooth + 1
    clip = read_clip(
        source,
        fps=fps * finer,
        start=part.start,
        seconds=part.seconds,
        max_frames=max_steps * finer + 1,
        max_side=_SOURCE_SIDE,
    )
    steps = (len(clip) - 1) // finer
    if steps < 1:
        raise LamdemoError(
            f"Only one frame of {source.name} falls in that range at {fps:g} steps a second; choose a longer "
            "range or a higher --fps."
        )
    available = max(int((end - part.start) * fps - 1e-6), steps)
    return clip.frames[: steps * finer + 1], available


def _stored(source: Path, part: Span | None, max_steps: int) -> tuple[LatentActions, int]:
    """Actions of a file, and how many there would have been without the limit."""
    from lamdemo.engine import LatentActions

    actions = LatentActions.load(source)
    z = actions.z
    if part is not None:
        end = None if part.end is None else round(part.end * actions.fps)
        z = z[round(part.start * actions.fps) : end]
    if not len(z):
        raise LamdemoError(
            f"{source.name} has no step in that range, it lasts {len(actions) / actions.fps:.3g} seconds; "
            "choose another --source-range."
        )
    return LatentActions(z[:max_steps], actions.fps, actions.checkpoint), len(z)


def aim(target: Path, at: float | None, fps: float, context: int, max_side: int | None = None) -> np.ndarray:
    """The target ``[T, H, W, 3]``: one picture, or a clip's frames up to the moment to take over from.

    Raises:
        LamdemoError: it cannot be read, or has no such moment.
    """
    from lamdemo.engine import MAX_SIDE
    from lamdemo.video import probe, read_clip, read_image

    max_side = max_side or MAX_SIDE
    info = probe(target)
    if info.is_image:
        if at is not None:
            raise LamdemoError(f"{target.name} is a picture and has no times; leave out --target-time.")
        return read_image(target, max_side=max_side)[None]
    at = at or 0.0
    if at >= info.seconds:
        raise LamdemoError(f"{target.name} ends after {info.seconds:.3g} seconds; give a --target-time before that.")
    frames = min(context, int(at * fps + 1e-6) + 1)
    start = max(at - (frames - 1) / fps, 0.0)
    return read_clip(target, fps=fps, start=start, max_frames=frames, max_side=max_side).frames


def _write_pictures(folder: Path, result: np.ndarray, fps: float, request: TransferRequest) -> None:
    """The result ``[F, H, W, 3]`` alone, and beside the target and, where its frames are known, the source."""
    import numpy as np

    from lamdemo.video import side_by_side, write_video

    write_video(folder / "transfer.mp4", result, fps)
    panels, labels = [request.target[-1:], result], ["target", "transfer"]
    if request.frames is not None:
        source, repeat = request.frames, request.edit.repeat
        panels.insert(0, np.concatenate([*[source[:-1]] * repeat, source[-1:]]))
        labels.insert(0, "source")
    whole = side_by_side(panels, height=min(_PANEL, request.target.shape[1]), labels=labels)
    write_video(folder / "side_by_side.mp4", whole, fps)


def about(arguments: list[str]) -> dict[str, Any]:
    """With what a result was made."""
    import torch

    from lamdemo import __version__
    from lamdemo.evaluation.report import git_state

    return {
        "lamdemo": __version__,
        "git": git_state(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "command": command_line(arguments),
    }
