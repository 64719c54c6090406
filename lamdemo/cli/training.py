"""``lamdemo train``, ``lamdemo family``, ``lamdemo pack`` and ``lamdemo shards``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamdemo.cli.common import (
    Backgrounds,
    Cache,
    Device,
    HeldOut,
    Things,
    Threads,
    VideosOrPack,
    checked_place,
    command_line,
    remove_if_empty,
    some_path,
)
from lamdemo.core.devices import AUTO, best_device

LeftOut = Annotated[
    Path | None,
    typer.Option(parser=some_path, metavar="FILE", help="TOML file of the clips to leave out; none without it."),
]


def train(
    config: Annotated[Path, typer.Argument(parser=some_path, metavar="CONFIG", help="Recipe: TOML, as in configs/.")],
    videos: Annotated[Path, typer.Option(parser=some_path, metavar="DIR", help="Folder of videos, a pack, or shards.")],
    out: Annotated[
        Path,
        typer.Option(parser=some_path, metavar="DIR", help="Gets checkpoint/, logs/ and state/."),
    ],
    split: HeldOut = None,
    things: Things = None,
    backgrounds: Backgrounds = None,
    cache: Cache = None,
    device: Device = AUTO,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from where a run in OUT stopped.")] = False,
    start_from: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Checkpoint to begin a new run with: a folder, a bundled name or a Hub id."),
    ] = None,
    stop_after: Annotated[
        float | None, typer.Option(min=0, metavar="MIN", help="Stop after so many minutes, to be resumed.")
    ] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop at that step, to be resumed.")] = None,
    threads: Threads = None,
) -> None:
    """Train a model from a folder of videos.

    [bold]Examples[/]

    [cyan]lamdemo train configs/noisy-cpu.toml --videos clips --out runs/first[/]

    [cyan]lamdemo train configs/noisy-cpu.toml --videos clips --out runs/first --resume --stop-after 60[/]

    [cyan]lamdemo train configs/noisy-cpu.toml --videos clips --out runs/mine --start-from noisy[/]

    Several processes, each with its share of the recipe's batch.parts:

    [cyan]accelerate launch --num_processes 8 -m lamdemo train recipes/vjepa2-l.toml --videos clips --out runs/large[/]
    """
    import torch

    from lamdemo.data.splits import Split
    from lamdemo.engine import resolve_checkpoint
    from lamdemo.training import SceneSources, TrainConfig
    from lamdemo.training import train as run
    from lamdemo.training.processes import is_main

    checked_place(out, folder=True)
    recipe = TrainConfig.read(config)
    parts = Split.read(split) if split is not None else None
    if threads is not None:
        torch.set_num_threads(threads)
    folders = [out / "cache", out / "logs", out, *out.absolute().parents]
    made = [folder for folder in folders if not folder.exists()]
    try:
        checkpoint = run(
            recipe,
            videos,
            out,
            split=parts,
            sources=SceneSources(tuple(things or ()), tuple(backgrounds or ())),
            cache=cache,
            device=best_device(device),
            resume=resume,
            start_from=resolve_checkpoint(start_from) if start_from else None,
            stop_after=stop_after,
            max_steps=max_steps,
        )
    finally:
        remove_if_empty(made)
    if is_main():
        typer.echo(checkpoint)


OutOption = Annotated[
    Path,
    typer.Option(parser=some_path, metavar="DIR", help="Gets checkpoints/, reports/, results/ and its state."),
]
StartFrom = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Checkpoint that the stem begins with, in the place of random weights."),
]


def family(
    ctx: typer.Context,
    recipe: Annotated[Path, typer.Argument(parser=some_path, metavar="RECIPE", help="TOML, as in recipes/.")],
    videos: VideosOrPack,
    out: OutOption,
    split: HeldOut = None,
    things: Things = None,
    backgrounds: Backgrounds = None,
    cache: Cache = None,
    device: Device = AUTO,
    start_from: StartFrom = None,
    stop_after: Annotated[
        float | None, typer.Option(min=0, metavar="MIN", help="Stop training after so many minutes; call again.")
    ] = None,
    reports: Annotated[bool, typer.Option(help="Judge the family when it is trained.")] = True,
    max_clips: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Clips to judge on at most; all without it.")
    ] = None,
    threads: Threads = None,
) -> None:
    """Train a family of checkpoints alike, bottleneck by bottleneck, and judge it.

    Called again, it goes on where it stopped.

    [bold]Example[/]

    [cyan]lamdemo family recipes/family-cpu.toml --videos clips --split configs/split.toml --out runs/family[/]
    """
    import torch

    from lamdemo.data.packs import is_pack
    from lamdemo.data.splits import Split
    from lamdemo.engine import resolve_checkpoint
    from lamdemo.training import FamilyConfig, SceneSources, train_family

    checked_place(out, folder=True)
    config = FamilyConfig.read(recipe)
    parts = Split.read(split) if split is not None else None
    if threads is not None:
        torch.set_num_threads(threads)
    made = [folder for folder in (out / "cache", out, *out.absolute().parents) if not folder.exists()]
    try:
        done = train_family(
            config,
            videos,
            out,
            split=parts,
            sources=SceneSources(tuple(things or ()), tuple(backgrounds or ())),
            cache=cache,
            device=best_device(device),
            start_from=resolve_checkpoint(start_from) if start_from else None,
            stop_after=stop_after,
        )
    finally:
        remove_if_empty(made)
    for folder in done:
        typer.echo(folder)
    if len(done) < len(config.members):
        typer.echo(f"{len(done)} of {len(config.members)} are finished; call it again to go on.")
        return
    if not reports:
        return

    from lamdemo.evaluation.suite import SuiteConfig, load_checkpoints, run_suite

    # A pack holds what was trained on, which is no judge.
    judged = None if is_pack(videos) or split is None else videos
    run_suite(
        load_checkpoints([str(folder) for folder in done], best_device(device)),
        out / "reports",
        SuiteConfig(videos=judged, split=split, max_clips=max_clips),
        command=command_line(ctx.obj or []),
        say=lambda words: typer.echo(words, err=True),
    )
    from lamdemo.cli.report import report

    report(out / "reports", out / "results", None, config.default, out / "checkpoints", png=True)


def pack(
    videos: Annotated[Path, typer.Argument(parser=some_path, metavar="VIDEOS", help="Folder of videos.")],
    out: Annotated[Path, typer.Option(parser=some_path, metavar="DIR", help="New folder for the pack.")],
    split: LeftOut = None,
    cache: Annotated[
        Path | None,
        typer.Option(parser=some_path, metavar="DIR", help="For decoded frames; a folder that is removed without it."),
    ] = None,
    height: Annotated[int, typer.Option(min=32, max=512, metavar="N", help="Rows of the packed frames at most.")] = 128,
    crf: Annotated[int, typer.Option(min=0, max=51, metavar="N", help="H.264's quality: larger is smaller.")] = 32,
    seconds: Annotated[float, typer.Option(min=1, metavar="S", help="Seconds of each clip at most.")] = 30.0,
    things: Things = None,
    backgrounds: Backgrounds = None,
) -> None:
    """Make a training set small enough to travel to a machine that has a GPU and nothing else.

    [bold]Examples[/]

    [cyan]lamdemo pack clips --out pack --crf 34[/]

    [cyan]lamdemo train configs/layers-gpu.toml --videos pack --out runs/gpu --device cuda[/]
    """
    import dataclasses
    import tempfile

    from lamdemo.data.packs import pack_pictures, write_pack
    from lamdemo.data.splits import Split
    from lamdemo.data.videos import CacheConfig
    from lamdemo.training import TrainConfig, training_recordings

    checked_place(out, folder=True)
    parts = Split.read(split) if split is not None else None
    config = dataclasses.replace(TrainConfig(), cache=dataclasses.replace(CacheConfig(), seconds=seconds))
    with tempfile.TemporaryDirectory() as scratch:
        recordings = training_recordings(videos, cache or Path(scratch), config, split=parts)
        size = write_pack(recordings, out, height=height, crf=crf)
    size += pack_pictures(things or (), backgrounds or (), out)
    typer.echo(f"{out} ({len(recordings)} clips, {size / 1e6:.1f} MB)")


def shards(
    videos: Annotated[Path, typer.Argument(parser=some_path, metavar="VIDEOS", help="Folder of videos.")],
    out: Annotated[Path, typer.Option(parser=some_path, metavar="DIR", help="New folder for the shards.")],
    split: LeftOut = None,
    height: Annotated[int, typer.Option(min=32, max=1080, metavar="N", help="Rows of a frame at most.")] = 256,
    fps: Annotated[float, typer.Option(min=1, max=60, metavar="N", help="Frames a second at most.")] = 8.0,
    seconds: Annotated[float, typer.Option(min=1, max=600, metavar="S", help="Length of a piece.")] = 10.0,
    crf: Annotated[int, typer.Option(min=0, max=51, metavar="N", help="H.264's quality: larger is smaller.")] = 23,
    megabytes: Annotated[float, typer.Option(min=1, metavar="MB", help="Size of a shard.")] = 256.0,
) -> None:
    """Cut videos into short pieces in WebDataset's tar files, for training sets too large to be decoded beforehand.

    [bold]Example[/]

    [cyan]lamdemo shards clips --out shards --split split.toml[/]

    [cyan]lamdemo train recipes/vjepa2-l.toml --videos shards --out runs/large[/]
    """
    from lamdemo.data.shards import ShardConfig, write_shards
    from lamdemo.data.splits import Split
    from lamdemo.video import find_videos

    checked_place(out, folder=True)
    names = [p.relative_to(videos).as_posix() for p in find_videos(videos)]
    if split is not None:
        names = Split.read(split).select(names, "train")
    count, problems = write_shards(videos, names, out, ShardConfig(height, fps, seconds, crf, megabytes))
    for problem in problems:
        typer.echo(f"skipped: {problem}", err=True)
    size = sum(p.stat().st_size for p in out.iterdir())
    typer.echo(f"{out} ({count} pieces of {len(names) - len(problems)} videos, {size / 1e6:.1f} MB)")
