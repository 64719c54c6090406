"""``lamdemo label-curve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from lamdemo.cli.common import (
    Cache,
    Device,
    StopAfter,
    Threads,
    checked_place,
    command_line,
    remove_if_empty,
    some_path,
    some_text,
)
from lamdemo.cli.controller import CheckpointName, SplitFile, ValidationSource
from lamdemo.core.devices import AUTO, best_device
from lamdemo.core.errors import LamdemoError

Episodes = Annotated[
    str,
    typer.Option(
        parser=some_text,
        metavar="DIR[#PART]",
        help="Episodes with actions to learn from. #car, #arm: the part of a folder with an INDEX.tsv.",
    ),
]
Name = Annotated[str, typer.Option(parser=some_text, metavar="NAME", help="Of the commands: a simulator's, car, arm.")]
Out = Annotated[
    Path, typer.Option(parser=some_path, metavar="DIR", help="Gets all that is trained, and a row of each point.")
]
Counts = Annotated[
    list[int] | None,
    typer.Option("--labelled", min=0, metavar="N", help="Labelled episodes, several times; 0: all. 5, 20, 100, 0."),
]


def label_curve(
    ctx: typer.Context,
    checkpoint: CheckpointName,
    episodes: Episodes,
    name: Name,
    out: Out,
    validation: ValidationSource = None,
    split: SplitFile = None,
    report: Annotated[
        Path | None,
        typer.Option(parser=some_path, metavar="FILE", help="Report, JSON, of all curves in DIR so far."),
    ] = None,
    labelled: Counts = None,
    seeds: Annotated[int, typer.Option(min=1, max=10, metavar="N", help="Choices of the labelled episodes.")] = 3,
    seed: Annotated[
        list[int] | None,
        typer.Option(min=0, metavar="N", help="Work on these of them alone, so that processes can share the work."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Of the world model, at most.")] = 600,
    controller_steps: Annotated[int, typer.Option(min=1, metavar="N", help="Of the controller.")] = 1000,
    part: Annotated[Literal["validation", "test"], typer.Option(help="That is judged.")] = "test",
    first: Annotated[int, typer.Option(min=0, metavar="N", help="Of a simulator's scenes of that part.")] = 100,
    tasks: Annotated[int, typer.Option(min=2, max=1000, metavar="N", help="In a simulator.")] = 51,
    stop_after: StopAfter = None,
    cache: Cache = None,
    device: Device = AUTO,
    threads: Threads = None,
) -> None:
    """Train and judge on 5, 20, 100 and all labelled episodes: a controller, and the world model itself.

    Compared are the checkpoint with a controller, the same trained on without labels, and the same trained on with
    them. Called again, it goes on where it stopped.

    [bold]Example[/]

    [cyan]lamdemo label-curve noisy --name fetch --episodes runs/fetch --validation runs/held-out --out runs/curve[/]
    """
    import torch

    from lamdemo.companions.label_curve import LabelCurve
    from lamdemo.companions.label_models import LabelCurveConfig, LabelModels
    from lamdemo.companions.making import Work, open_source
    from lamdemo.data.splits import Split
    from lamdemo.engine import TransferPipeline, resolve_checkpoint

    checked_place(out, folder=True)
    if threads is not None:
        torch.set_num_threads(threads)
    found = open_source(episodes)
    others = open_source(validation) if validation is not None else None
    if split is not None:
        parts = Split.read(split)
        found, others = found.split(parts, "train"), others or found.split(parts, "validation")
    if others is None:
        raise LamdemoError("By what trainings end is not known; give --validation, or a --split that names some.")
    folder = resolve_checkpoint(checkpoint)
    pipeline = TransferPipeline.from_pretrained(folder, device=best_device(device))
    work = Work(pipeline, folder, out, False, cache, None, typer.echo)
    config = LabelCurveConfig(
        counts=tuple(labelled or LabelCurveConfig.counts),
        seeds=tuple(range(seeds)),
        steps=steps,
        controller_steps=controller_steps,
        part=part,
        first=first,
        tasks=tasks,
    )
    # Only a folder with an index tells what is for tests; others are judged on the recordings by which trainings end.
    folder_name, part_of_index, _ = episodes.partition("#")
    root = Path(folder_name) if part_of_index else None
    made = [place for place in (work.kept, out, *out.absolute().parents) if not place.exists()]
    try:
        curve = LabelCurve(LabelModels(work, name, found, others, config), root=root, split=split)
        if not curve.run(stop_after, seed or ()):
            typer.echo(f"The label curve of {name} is not finished; call it again to go on.")
        if report is not None:
            curve.write_report(report, command_line(ctx.obj or []))
            typer.echo(report)
    finally:
        remove_if_empty(made)
