"""``lamdemo train-futures``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamdemo.cli.common import (
    Cache,
    Device,
    DrawSeed,
    StopAfter,
    Threads,
    TrainingSteps,
    checked_place,
    command_line,
    remove_if_empty,
    some_path,
    some_text,
)
from lamdemo.cli.controller import CheckpointName, EpisodeSource, Mirror, Part, SplitFile, ValidationSource
from lamdemo.core.devices import AUTO, best_device
from lamdemo.core.errors import LamdemoError


def train_futures(
    ctx: typer.Context,
    checkpoint: CheckpointName,
    episodes: EpisodeSource,
    name: Annotated[
        str, typer.Option(parser=some_text, metavar="NAME", help="Of the checkpoint's controller of these commands.")
    ],
    out: Annotated[
        Path, typer.Option(parser=some_path, metavar="DIR", help="Gets futures-NAME.json and .safetensors.")
    ],
    part: Part = None,
    split: SplitFile = None,
    validation: ValidationSource = None,
    report: Annotated[
        Path | None, typer.Option(parser=some_path, metavar="FILE", help="Judge them too, and write this, JSON.")
    ] = None,
    cache: Cache = None,
    install: Annotated[bool, typer.Option("--install", help="Put them beside the checkpoint too.")] = False,
    mirror: Mirror = True,
    steps: TrainingSteps = 2500,
    stop_after: StopAfter = None,
    seed: DrawSeed = 0,
    device: Device = AUTO,
    threads: Threads = None,
) -> None:
    """Train what draws several futures of one command, and judge it beside the controller.

    Called again, it goes on where it stopped.

    [bold]Example[/]

    [cyan]lamdemo train-futures residual --episodes runs/fetch --validation runs/held-out --name fetch --out runs[/]
    """
    import torch

    from lamdemo.companions.making import Work, make_futures
    from lamdemo.data.episodes import open_episodes
    from lamdemo.data.splits import Split
    from lamdemo.engine import TransferPipeline, resolve_checkpoint
    from lamdemo.evaluation.report import write_report

    checked_place(out, folder=True)
    if threads is not None:
        torch.set_num_threads(threads)
    found = open_episodes(episodes, part=part)
    others = open_episodes(validation, part=part) if validation is not None else None
    if split is not None:
        parts = Split.read(split)
        found, others = found.split(parts, "train"), others or found.split(parts, "validation")
    if report is not None and (others is None or not len(others)):
        raise LamdemoError("There is nothing to judge futures on; give --validation, or a --split that names some.")
    folder = resolve_checkpoint(checkpoint)
    pipeline = TransferPipeline.from_pretrained(folder, device=best_device(device))
    work = Work(pipeline, folder, out, install, cache, stop_after, typer.echo)
    made = [place for place in (work.kept, out, *out.absolute().parents) if not place.exists()]
    try:
        judged = others if report is not None else None
        result = make_futures(work, name, found, judged, steps=steps, seed=seed, mirror=mirror)
        if result is None:
            typer.echo(f"Futures of {name} are not finished; call it again to go on.")
        elif report is not None:
            data = result.pop("data")
            write_report(report, result, command=command_line(ctx.obj or []), pipeline=pipeline, seed=seed, data=data)
            for method, figure in result["over_controller"].items():
                typer.echo(f"{method}: {figure['value']:.3f} of the controller's error one step ahead")
            typer.echo(report)
    finally:
        remove_if_empty(made)
