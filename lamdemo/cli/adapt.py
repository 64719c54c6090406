"""``lamdemo adapt``: a checkpoint adapted to one clip within a minute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lamdemo.cli.common import (
    Checkpoint,
    Device,
    DrawSeed,
    SourceRange,
    Threads,
    appearing_whole,
    checked_place,
    command_line,
    loaded,
    some_path,
)
from lamdemo.core.devices import AUTO
from lamdemo.core.errors import LamdemoError

if TYPE_CHECKING:
    from lamdemo.cli.common import Span
    from lamdemo.engine import TransferPipeline
    from lamdemo.training.adaptation import AdaptationConfig, Adapted

Clips = Annotated[
    list[Path],
    typer.Argument(parser=some_path, metavar="CLIP...", help="Clip to adapt to; several, each apart, with --report."),
]
Out = Annotated[Path | None, typer.Option(parser=some_path, metavar="DIR", help="Folder for the adapted checkpoint.")]
Report = Annotated[
    Path | None, typer.Option(parser=some_path, metavar="FILE", help="Report of what was measured, JSON.")
]


def adapt(
    ctx: typer.Context,
    clips: Clips,
    out: Out = None,
    report: Report = None,
    checkpoint: Checkpoint = None,
    source_range: SourceRange = None,
    seconds: Annotated[
        float, typer.Option(min=1, max=3600, metavar="S", help="Of computing, measuring included.")
    ] = 60,
    steps: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Of training in the place of seconds: the same on every machine."),
    ] = None,
    seed: DrawSeed = 0,
    device: Device = AUTO,
    threads: Threads = None,
) -> None:
    """Adapt a checkpoint to a clip: what reads its latents, moves and mends its states, and draws its pictures.

    The clip's last quarter is held out: the errors of one step there, before and after, are what is printed. The folder
    is a checkpoint like any other; maps, controllers and rules for verdicts of the original do not belong to it.

    [bold]Examples[/]

    [cyan]lamdemo adapt walk.mp4 --checkpoint layers --out walk[/]

    [cyan]lamdemo transfer walk.mp4 street.jpg --checkpoint walk --out result[/]

    [cyan]lamdemo adapt clips/a.mp4 clips/b.mp4 --report adaptation.json[/]
    """
    import torch

    from lamdemo.training.adaptation import AdaptationConfig

    if out is None and report is None:
        raise LamdemoError("Give --out for the adapted checkpoint, or --report for what is measured.")
    if out is not None and len(clips) > 1:
        raise LamdemoError("One checkpoint is adapted to one clip; give one, or leave out --out.")
    if out is not None:
        checked_place(out, folder=True)
    if report is not None:
        checked_place(report, folder=False)
    if threads is not None:
        torch.set_num_threads(threads)
    pipeline = loaded(checkpoint, device)
    config = AdaptationConfig(seconds=seconds, steps=steps, seed=seed)
    done = []
    for clip in clips:
        done.append(_adapted(pipeline, clip, source_range, config))
        typer.echo(_table(clip, done[-1]))
    if report is not None:
        _write_report(report, pipeline, clips, done, config, command_line(ctx.obj or []))
        typer.echo(report)
    if out is not None:
        _save(out, pipeline, done[0])
        typer.echo(out)


def _adapted(pipeline: TransferPipeline, clip: Path, part: Span | None, config: AdaptationConfig) -> Adapted:
    from tqdm import tqdm

    from lamdemo.training.adaptation import MOST, Adapted, adapt
    from lamdemo.video import read_clip

    side = pipeline.model.config.encoder.picture
    frames = read_clip(
        clip,
        fps=pipeline.fps,
        start=part.start if part else 0.0,
        seconds=part.seconds if part else None,
        max_frames=MOST + 1,
        size=(side, side),
    ).frames
    with tqdm(total=100, desc="adapting", unit="%", leave=False, disable=None) as bar:
        for news in adapt(pipeline, frames, config):
            if isinstance(news, Adapted):
                return news
            bar.update(round(100 * news.share) - bar.n)
    raise AssertionError("an adaptation ends with what it came to")


def _table(clip: Path, done: Adapted) -> str:
    before, after = done.before, done.after
    rows = [
        ("state", before.state_copy, before.state_zero, before.state, after.state, done.fall),
        ("picture", before.picture_copy, before.picture_zero, before.picture, after.picture, done.picture_fall),
    ]
    lines = [
        f"{clip.name}: error of one step on {done.parts.held_out} held-out steps "
        f"({done.steps} training steps on {done.parts.training} of the clip's, {done.seconds:.0f} s)",
        f"{'':8} {'copying':>9} {'no action':>9} {'before':>9} {'after':>9} {'change':>8}",
        *(f"{n:8} {c:9.4f} {z or 0:9.4f} {b:9.4f} {a:9.4f} {-100 * f:+7.1f}%" for n, c, z, b, a, f in rows),
    ]
    if not done.kept:
        lines.append("Nothing did better on the steps that it is chosen by, so the model stays as it was.")
    return "\n".join(lines)


def _save(out: Path, pipeline: TransferPipeline, done: Adapted) -> None:
    from lamdemo.models import save_checkpoint

    if not done.kept:
        raise LamdemoError("Adapting did not help with this clip, so nothing was written; use the checkpoint as it is.")
    about: dict[str, Any] = {
        **pipeline.trained,
        "began_with": {"name": Path(pipeline.name).name, "sha256": pipeline.checkpoint},
        "adapted": {"on_steps_of_a_clip": done.parts.training, "training_steps": done.kept},
    }
    with appearing_whole(out) as folder:
        save_checkpoint(done.pipeline(pipeline).model, folder, about=about)


def _write_report(
    path: Path,
    pipeline: TransferPipeline,
    clips: list[Path],
    done: list[Adapted],
    config: AdaptationConfig,
    command: str,
) -> None:
    import dataclasses
    import os
    import statistics

    from lamdemo.evaluation.report import describe_files, write_report

    folder = Path(os.path.commonpath([clip.resolve().parent for clip in clips]))
    names = [clip.resolve().relative_to(folder).as_posix() for clip in clips]
    result = {
        "evaluation": "adaptation",
        "settings": {**dataclasses.asdict(config), "fps": pipeline.fps},
        "headline": {
            "state_fall": statistics.fmean(d.fall for d in done),
            "picture_fall": statistics.fmean(d.picture_fall for d in done),
            "fell_by_a_tenth": {
                "state": sum(d.fall >= 0.1 for d in done),
                "picture": sum(d.picture_fall >= 0.1 for d in done),
                "of": len(done),
            },
        },
        "clips": {name: d.figures() for name, d in zip(names, done, strict=True)},
    }
    data = describe_files(folder, names)
    write_report(path, result, command=command, pipeline=pipeline, seed=config.seed, data=data)
