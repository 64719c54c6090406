"""``lamdemo prior``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lamdemo.cli.common import (
    Cache,
    Device,
    HeldOut,
    Threads,
    checked_device,
    checked_place,
    command_line,
    remove_if_empty,
    some_path,
    some_text,
)
from lamdemo.errors import LamdemoError

if TYPE_CHECKING:
    from lamdemo.pipeline import TransferPipeline


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
    videos: Annotated[
        Path,
        typer.Option(parser=some_path, metavar="DIR", help="Folder of videos, or a pack."),
    ],
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
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Steps of training.")] = 2500,
    install: Annotated[bool, typer.Option("--install", help="Put finished priors beside their checkpoints.")] = False,
    judge: Annotated[
        bool, typer.Option("--judge", help="Do not train: judge the priors that the checkpoints bring.")
    ] = False,
    part: Annotated[
        Literal["train", "validation", "test", "all"], typer.Option(help="Part of the split to judge on.")
    ] = "test",
    max_clips: Annotated[
        int | None, typer.Option(min=5, metavar="N", help="Clips to judge on at most; all without it.")
    ] = None,
    stop_after: Annotated[
        float | None, typer.Option(min=0, metavar="MIN", help="Stop training after so many minutes; call again.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of what is drawn at random.")] = 0,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Train a prior of latent actions, which says what could happen next in a picture, or judge one.

    Called again, it goes on where it stopped.

    [bold]Examples[/]

    [cyan]lamdemo prior noisy sparse --videos clips --split configs/split.toml --out runs/prior --install[/]

    [cyan]lamdemo prior noisy --judge --videos clips --split configs/split.toml --out reports[/]
    """
    import torch

    from lamdemo.pipeline import TransferPipeline, resolve_checkpoint

    checked_place(out, folder=True)
    if not videos.is_dir():
        raise LamdemoError(f"There is no folder {videos.name}; give one that is there.")
    if threads is not None:
        torch.set_num_threads(threads)
    folders = {Path(folder).name: folder for folder in (resolve_checkpoint(one) for one in checkpoints)}
    if len(folders) < len(checkpoints):
        raise LamdemoError("Two checkpoints have the same name; give each its own.")
    place = checked_device(device)
    pipelines = {name: TransferPipeline.from_pretrained(folder, device=place) for name, folder in folders.items()}
    made = [folder for folder in (out / "cache", out, *out.absolute().parents) if not folder.exists()]
    try:
        if judge:
            _judge(pipelines, folders, videos, out, split, part, max_clips, seed, command_line(ctx.obj or []))
        else:
            _train(pipelines, folders, videos, out, split, cache, clips, steps, install, stop_after, seed)
    finally:
        remove_if_empty(made)


def _judge(
    pipelines: Mapping[str, TransferPipeline],
    folders: Mapping[str, Path],
    videos: Path,
    out: Path,
    split: Path | None,
    part: Literal["train", "validation", "test", "all"],
    max_clips: int | None,
    seed: int,
    command: str,
) -> None:
    """Write a report on each checkpoint's prior."""
    from lamdemo.evaluation import write_report
    from lamdemo.evaluation.priors import evaluate_priors
    from lamdemo.latent_space.prior import load_prior

    priors = {}
    for name, folder in folders.items():
        found = load_prior(folder, pipelines[name].model.device)
        if found is None:
            raise LamdemoError(f"The checkpoint {name} brings no prior to judge; train one without --judge.")
        priors[name] = found
    results = evaluate_priors(pipelines, priors, videos, split=split, part=part, max_clips=max_clips, seed=seed)
    for name, result in results.items():
        path = write_report(
            out / name / "prior.json",
            result,
            command=command,
            pipeline=pipelines[name],
            seed=seed,
            data=result["clips"],
        )
        typer.echo(path)


def _train(
    pipelines: Mapping[str, TransferPipeline],
    folders: Mapping[str, Path],
    videos: Path,
    out: Path,
    split: Path | None,
    cache: Path | None,
    clips: int,
    steps: int,
    install: bool,
    stop_after: float | None,
    seed: int,
) -> None:
    """Train a prior for each checkpoint, one after the other."""
    from lamdemo.data.splits import Split
    from lamdemo.latent_space.prior import FlowPriorConfig, save_prior
    from lamdemo.latent_space.prior_training import PairsConfig, PriorTrainConfig, collect_pairs, train_prior
    from lamdemo.latent_space.sampling import finite_codes
    from lamdemo.training import TrainConfig, training_recordings

    start = time.monotonic()
    parts = Split.read(split) if split is not None else None
    recordings = training_recordings(videos, cache or out / "cache", TrainConfig(), split=parts)
    pairs = collect_pairs(pipelines, recordings, out / "pairs", PairsConfig(clips=clips, seed=seed))
    for name, pipeline in pipelines.items():
        codes = finite_codes(pipeline)
        model = pipeline.model.config
        config = FlowPriorConfig(
            channels=model.bottleneck.channels, state_channels=model.encoder.channels, snap=codes is not None
        )
        left = None if stop_after is None else max(stop_after - (time.monotonic() - start) / 60, 0)
        done = train_prior(
            pairs[name],
            config,
            PriorTrainConfig(steps=steps, seed=seed),
            codes=codes,
            state=out / name,
            label=name,
            stop_after=left,
        )
        if done is None:
            typer.echo(f"{name} is not finished; call it again to go on.")
            return
        learned, about = done
        about = {**about, "checkpoint": pipeline.checkpoint}
        save_prior(learned, out / name, about)
        if install:
            save_prior(learned, folders[name], about)
        typer.echo(folders[name] if install else out / name)
