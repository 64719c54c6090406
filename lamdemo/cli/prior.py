"""``lamdemo prior``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamdemo.cli.common import (
    Cache,
    Device,
    DrawSeed,
    HeldOut,
    JudgedPart,
    StopAfter,
    Threads,
    TrainingSteps,
    VideosOrPack,
    checked_place,
    command_line,
    remove_if_empty,
    some_path,
    some_text,
)
from lamdemo.core.devices import AUTO, best_device
from lamdemo.core.errors import LamdemoError


def prior(
    ctx: typer.Context,
    checkpoints: Annotated[
        list[str],
        typer.Argument(
            parser=some_text,
            metavar="CHECKPOINT...",
            help="Folders, bundled names or Hub ids; those of one encoder share its work.",
        ),
    ],
    videos: VideosOrPack,
    out: Annotated[
        Path,
        typer.Option(
            parser=some_path,
            metavar="DIR",
            help="Gets a folder for each checkpoint, with its prior (or report), and what is needed to go on.",
        ),
    ],
    split: HeldOut = None,
    cache: Cache = None,
    clips: Annotated[int, typer.Option(min=4, metavar="N", help="Clips to learn from; half a second each.")] = 3000,
    steps: TrainingSteps = 2500,
    install: Annotated[bool, typer.Option("--install", help="Put finished priors beside their checkpoints.")] = False,
    judge: Annotated[
        bool, typer.Option("--judge", help="Do not train: judge the priors that the checkpoints bring.")
    ] = False,
    part: JudgedPart = "test",
    max_clips: Annotated[
        int | None, typer.Option(min=5, metavar="N", help="Clips to judge on at most; all without it.")
    ] = None,
    stop_after: StopAfter = None,
    seed: DrawSeed = 0,
    device: Device = AUTO,
    threads: Threads = None,
) -> None:
    """Train a prior of latent actions, which says what could happen next in a picture, or judge one.

    Called again, it goes on where it stopped.

    [bold]Examples[/]

    [cyan]lamdemo prior noisy sparse --videos clips --split configs/split.toml --out runs/prior --install[/]

    [cyan]lamdemo prior noisy --judge --videos clips --split configs/split.toml --out reports[/]
    """
    import torch

    from lamdemo.companions.making import Work, make_priors
    from lamdemo.engine import TransferPipeline, resolve_checkpoint
    from lamdemo.evaluation import ClipSet
    from lamdemo.evaluation.priors import judge_priors

    checked_place(out, folder=True)
    if not videos.is_dir():
        raise LamdemoError(f"There is no folder {videos.name}; give one that is there.")
    if threads is not None:
        torch.set_num_threads(threads)
    folders = {Path(folder).name: folder for folder in (resolve_checkpoint(one) for one in checkpoints)}
    if len(folders) < len(checkpoints):
        raise LamdemoError("Two checkpoints have the same name; give each its own.")
    place = best_device(device)
    pipelines = {name: TransferPipeline.from_pretrained(folder, device=place) for name, folder in folders.items()}
    made = [folder for folder in (out / "cache", out, *out.absolute().parents) if not folder.exists()]
    try:
        if judge:
            command = command_line(ctx.obj or [])
            clips_to_judge = ClipSet(videos, split, part, max_clips, seed)
            for path in judge_priors(pipelines, folders, clips_to_judge, out, command):
                typer.echo(path)
        else:
            works = {
                name: Work(pipelines[name], folder, out, install, cache, stop_after, typer.echo)
                for name, folder in folders.items()
            }
            make_priors(works, videos, split, clips=clips, steps=steps, seed=seed)
    finally:
        remove_if_empty(made)
