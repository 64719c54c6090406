"""``lamdemo transfer``: the action of a clip on another picture, as files; or of many clips on many pictures."""

from __future__ import annotations

import time
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from lamdemo.cli.carrying import (
    Settings,
    about,
    aim,
    carried,
    read_source,
    report_of,
    requested,
    write_report,
    write_results,
)
from lamdemo.cli.common import (
    Checkpoint,
    Device,
    FramesBetween,
    NoiseSeed,
    Refinement,
    Repeat,
    Reverse,
    SourceRange,
    Strength,
    TargetTime,
    Temperature,
    appearing_whole,
    checked_place,
    loaded,
    some_path,
)
from lamdemo.core.devices import AUTO
from lamdemo.core.errors import LamdemoError


class Format(str, Enum):
    """What a transfer is written as beside its MP4."""

    GIF = "gif"
    WEBP = "webp"


class Audio(str, Enum):
    """What becomes of the source's sound."""

    DROP = "drop"
    KEEP = "keep"


Source = Annotated[
    Path,
    typer.Argument(parser=some_path, metavar="SOURCE", help="Clip with the action, or a latents.npz written before."),
]
Target = Annotated[Path, typer.Argument(parser=some_path, metavar="TARGET", help="Picture to act on, or a clip.")]
OneTarget = Annotated[
    Path | None,
    typer.Argument(parser=some_path, metavar="TARGET", help="Picture to act on, or a clip; a SOURCE with --target."),
]
More = Annotated[
    list[Path] | None,
    typer.Argument(parser=some_path, metavar="SOURCE...", help="Further sources, with --target."),
]
Targets = Annotated[
    list[Path] | None,
    typer.Option(
        "--target",
        parser=some_path,
        metavar="PATH",
        help="Picture, clip, or folder of them; all that stands before are sources then. May be repeated.",
    ),
]
Out = Annotated[Path, typer.Option(parser=some_path, metavar="DIR", help="Folder for the results.")]


def transfer(
    ctx: typer.Context,
    source: Source,
    out: Out,
    target: OneTarget = None,
    more: More = None,
    targets: Targets = None,
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
    smooth: FramesBetween = 2,
    format: Annotated[
        list[Format] | None,
        typer.Option("--format", help="Write transfer.gif or transfer.webp too; may be repeated."),
    ] = None,
    audio: Annotated[Audio, typer.Option(help="Whether the source's sound is heard under the result.")] = Audio.DROP,
    refinement: Refinement = None,
    device: Device = AUTO,
) -> None:
    """Carry the action in a clip over to another picture, or those of many clips to many pictures.

    Writes [bold]transfer.mp4[/], [bold]side_by_side.mp4[/] (source, target and transfer, in step),
    [bold]latents.npz[/] (the actions as applied, to use as a SOURCE again) and [bold]report.json[/].

    With [bold]--target[/] every source is done to every target, a folder each, with [bold]sheet.jpg[/] and
    [bold]results.csv[/] of all; called again, it goes on where it stopped.

    [bold]Examples[/]

    [cyan]lamdemo transfer walk.mp4 street.jpg --out result[/]

    [cyan]lamdemo transfer walk.mp4 street.jpg --out back --source-range 1.5:4 --reverse[/]

    [cyan]lamdemo transfer result/latents.npz other.mp4 --target-time 2 --out again[/]

    [cyan]lamdemo transfer walk.mp4 run.mp4 clips --target photos --out results --format webp --audio keep[/]
    """
    settings = Settings(
        *(source_range, target_time, strength, reverse, repeat, seed, temperature, max_steps, fps, smooth),
        refinement=refinement,
        formats=tuple(sorted({f.value for f in format or ()})),
        audio=audio is Audio.KEEP,
    )
    begun = time.monotonic()
    checked_place(out, folder=True)
    if targets:
        from lamdemo.cli.many import transfer_many

        sources = [path for path in (source, target, *(more or ())) if path is not None]
        transfer_many(sources, targets, out, settings, lambda: loaded(checkpoint, device), ctx.obj or [])
        return
    if target is None:
        raise typer.BadParameter("Missing argument 'TARGET', a picture or a clip (or --target for many)", ctx)
    if more:
        raise LamdemoError("One source and one target stand by themselves; give the targets of several with --target.")
    _transfer_one(ctx, source, target, out, settings, checkpoint, device, begun)


def _transfer_one(
    ctx: typer.Context,
    source: Path,
    target: Path,
    out: Path,
    settings: Settings,
    checkpoint: str | None,
    device: str,
    begun: float,
) -> None:
    """One source on one target, its results in ``out`` itself; see `transfer`. ``begun`` is when the command did."""
    from tqdm import tqdm

    from lamdemo.engine import TransferStep

    timing: dict[str, float] = {}

    def lap(name: str) -> None:
        timing[name] = round(time.monotonic() - begun - sum(timing.values()), 3)

    pipeline = loaded(checkpoint, device)
    lap("load")
    watched = read_source(pipeline, source, settings)
    past = aim(target, settings.target_time, watched.rate, pipeline.model.config.world_model.context)
    request = requested(watched, past, settings)
    with tqdm(total=request.steps + 1, desc="transfer", unit="step", leave=False, disable=None) as bar:

        def stepped(step: TransferStep) -> None:
            bar.update()
            if step.index in (0, request.steps):
                lap("transfer" if step.index else "read and infer")

        made = carried(pipeline, request, stepped)
    report = report_of(pipeline, made, request, watched, target, settings)
    lap("judge")
    with appearing_whole(out) as folder:
        lacking = write_results(folder, made, request, watched, settings)
        lap("write")
        seconds = {"seconds": {**timing, "all": round(time.monotonic() - begun, 3)}}
        write_report(folder, {**report, **seconds, **about(ctx.obj or [])})
    cut = f" of {watched.available}, see --max-steps" if watched.available > request.span else ""
    typer.echo(f"{out / 'transfer.mp4'} ({request.span} steps{cut})")
    if made.verdict is not None:
        typer.echo(made.verdict.sentence)
    if made.out_of_distribution is not None and made.out_of_distribution.warning:
        typer.echo(f"warning: {made.out_of_distribution.warning}")
    if lacking:
        typer.echo(f"warning: {lacking}")
