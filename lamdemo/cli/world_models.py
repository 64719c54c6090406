"""``lamdemo train-twin`` and ``lamdemo train-draft``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lamdemo.cli.common import (
    Cache,
    CommandHistory,
    Device,
    DrawSeed,
    HeldOut,
    StopAfter,
    Threads,
    TrainingSteps,
    checked_place,
    remove_if_empty,
    some_path,
    some_text,
)
from lamdemo.core.devices import AUTO, best_device

if TYPE_CHECKING:
    from lamdemo.companions.making import Work

Sources = Annotated[
    list[str],
    typer.Option(
        parser=some_text,
        metavar="DIR[#PART]",
        help="Episodes with actions; may be given several times. #car, #arm: the part of a folder with an INDEX.tsv.",
    ),
]
Checkpoint = Annotated[
    str, typer.Argument(parser=some_text, metavar="CHECKPOINT", help="A folder, a bundled name or a Hub id.")
]


def train_twin(
    checkpoint: Checkpoint,
    episodes: Sources,
    out: Annotated[
        Path, typer.Option(parser=some_path, metavar="DIR", help="Gets the twin and what is needed to go on.")
    ],
    condition: Annotated[
        Literal["labels", "latents"],
        typer.Option(help="latents: train the checkpoint's own world model on, for comparison."),
    ] = "labels",
    split: HeldOut = None,
    cache: Cache = None,
    install: Annotated[bool, typer.Option("--install", help="Put a finished twin beside its checkpoint.")] = False,
    steps: TrainingSteps = 1000,
    clips: Annotated[int, typer.Option(min=1, metavar="N", help="Clips in a step.")] = 8,
    history: CommandHistory = 2,
    mirror: Annotated[
        bool, typer.Option(help="Learn from flipped pictures too, where it is known what commands do there.")
    ] = True,
    stop_after: StopAfter = None,
    seed: DrawSeed = 0,
    device: Device = AUTO,
    threads: Threads = None,
) -> None:
    """Train a checkpoint's twin: the same world model, told what was commanded in the place of latent actions.

    It is what controllers and plans are compared with. Called again, it goes on where it stopped.

    [bold]Examples[/]

    [cyan]lamdemo train-twin noisy --episodes clips#car --episodes runs/doom --split configs/split.toml --out runs[/]
    """
    from lamdemo.companions.making import make_action_conditioned
    from lamdemo.training.action_conditioned import BaselineTrainingConfig

    work = _work(checkpoint, out, install, cache, stop_after, device, threads)
    config = BaselineTrainingConfig(condition=condition, steps=steps, clips=clips, seed=seed)
    made = [place for place in (work.kept, out, *out.absolute().parents) if not place.exists()]
    try:
        if not make_action_conditioned(work, episodes, split, config, history=history, mirror=mirror):
            typer.echo("The twin is not finished; call it again to go on.")
    finally:
        remove_if_empty(made)


def train_draft(
    checkpoint: Checkpoint,
    episodes: Sources,
    out: Annotated[
        Path, typer.Option(parser=some_path, metavar="DIR", help="Gets the draft and what is needed to go on.")
    ],
    videos: Annotated[
        Path | None,
        typer.Option(parser=some_path, metavar="DIR", help="Videos to learn from too, whose actions nobody knows."),
    ] = None,
    clips: Annotated[int, typer.Option(min=1, metavar="N", help="Of these videos at most, five seconds each.")] = 500,
    twin: Annotated[bool, typer.Option("--twin", help="Distil the checkpoint's twin.")] = False,
    split: HeldOut = None,
    cache: Cache = None,
    install: Annotated[bool, typer.Option("--install", help="Put a finished draft beside its checkpoint.")] = False,
    steps: TrainingSteps = 1500,
    stop_after: StopAfter = None,
    seed: DrawSeed = 0,
    device: Device = AUTO,
    threads: Threads = None,
) -> None:
    """Distil a checkpoint's world model into a small one, with which planners try thousands of actions.

    Called again, it goes on where it stopped.

    [bold]Examples[/]

    [cyan]lamdemo train-draft noisy --episodes clips#car --episodes runs/doom --split configs/split.toml --out runs[/]
    """
    from lamdemo.companions.making import make_distilled
    from lamdemo.training.distillation import DistillationConfig

    work = _work(checkpoint, out, install, cache, stop_after, device, threads)
    config = DistillationConfig(steps=steps, seed=seed)
    made = [place for place in (work.kept, out, *out.absolute().parents) if not place.exists()]
    try:
        if not make_distilled(work, episodes, split, config, videos=videos, clips=clips, baseline=twin):
            typer.echo("The draft is not finished; call it again to go on.")
    finally:
        remove_if_empty(made)


def _work(
    checkpoint: str,
    out: Path,
    install: bool,
    cache: Path | None,
    stop_after: float | None,
    device: str,
    threads: int | None,
) -> Work:
    import torch

    from lamdemo.companions.making import Work
    from lamdemo.engine import TransferPipeline, resolve_checkpoint

    checked_place(out, folder=True)
    if threads is not None:
        torch.set_num_threads(threads)
    folder = resolve_checkpoint(checkpoint)
    pipeline = TransferPipeline.from_pretrained(folder, device=best_device(device))
    return Work(pipeline, folder, out, install, cache, stop_after, typer.echo)
