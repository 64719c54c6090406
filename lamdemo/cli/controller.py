"""``lamdemo train-controller``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lamdemo.cli.common import (
    Cache,
    CommandHistory,
    Device,
    DrawSeed,
    StopAfter,
    Threads,
    TrainingSteps,
    checked_place,
    remove_if_empty,
    some_path,
    some_text,
)
from lamdemo.core.devices import AUTO, best_device
from lamdemo.core.errors import LamdemoError

if TYPE_CHECKING:
    from lamdemo.data.episodes import Episodes


CheckpointName = Annotated[
    str,
    typer.Argument(parser=some_text, metavar="CHECKPOINT", help="A folder, a bundled name or a Hub id."),
]
EpisodeSource = Annotated[
    str,
    typer.Option(
        parser=some_text,
        metavar="DIR",
        help="Episodes with actions: of `lamdemo episodes`, a LeRobot dataset (or hf:owner/name), or a folder "
        "with an INDEX.tsv.",
    ),
]
Out = Annotated[
    Path,
    typer.Option(parser=some_path, metavar="DIR", help="Gets controllers/NAME.json and .safetensors."),
]
Part = Annotated[
    str | None, typer.Option(parser=some_text, metavar="PART", help="Of a folder with an index: car, arm.")
]
Camera = Annotated[
    list[str] | None, typer.Option(parser=some_text, metavar="NAME", help="Of several cameras only these.")
]
SplitFile = Annotated[
    Path | None,
    typer.Option(parser=some_path, metavar="FILE", help="TOML file of the clips to measure on and to leave out."),
]
ValidationSource = Annotated[
    str | None, typer.Option(parser=some_text, metavar="DIR", help="Other episodes to measure on.")
]
Ablation = Annotated[bool, typer.Option("--ablation", help="See the commands alone and not the state, for comparison.")]
Mirror = Annotated[
    bool, typer.Option(help="Learn from flipped pictures too, where it is known what commands do there.")
]
Reverse = Annotated[bool, typer.Option(help="Learn from episodes backwards too, where all commands are changes.")]


def train_controller(
    checkpoint: CheckpointName,
    episodes: EpisodeSource,
    name: Annotated[str, typer.Option(parser=some_text, metavar="NAME", help="Of the controller: car, arm, ...")],
    out: Out,
    part: Part = None,
    camera: Camera = None,
    split: SplitFile = None,
    validation: ValidationSource = None,
    cache: Cache = None,
    ablation: Ablation = False,
    install: Annotated[bool, typer.Option("--install", help="Put it beside the checkpoint too.")] = False,
    history: CommandHistory = 2,
    width: Annotated[int, typer.Option(min=8, max=1024, metavar="N", help="Of its tokens.")] = 128,
    dropout: Annotated[float, typer.Option(min=0, max=0.9, metavar="X", help="Share that is left out.")] = 0.1,
    noise: Annotated[float, typer.Option(min=0, max=5, metavar="X", help="On states, in training.")] = 0.2,
    mirror: Mirror = True,
    reverse: Reverse = True,
    steps: TrainingSteps = 3000,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Steps of episodes in each.")] = 64,
    stop_after: StopAfter = None,
    seed: DrawSeed = 0,
    device: Device = AUTO,
    threads: Threads = None,
) -> None:
    """Train a controller: known actions, such as steering, become latent ones by what is in view.

    Called again, it goes on where it stopped.

    [bold]Examples[/]

    [cyan]lamdemo train-controller noisy --episodes clips --part car --split configs/split.toml --name car --out runs[/]

    [cyan]lamdemo train-controller noisy --episodes runs/fetch --name fetch --out runs --install[/]
    """
    import torch

    from lamdemo.companions.making import Work, make_controller, token_patch
    from lamdemo.data.splits import Split
    from lamdemo.engine import TransferPipeline, resolve_checkpoint
    from lamdemo.models.controller import ControllerConfig, checked_name
    from lamdemo.training.controller import ControllerTrainingConfig

    checked_name(name)
    heads = ControllerConfig(1).heads
    if width % heads:
        raise LamdemoError(f"The width of a controller is a multiple of {heads}, which {width} is not.")
    checked_place(out, folder=True)
    if threads is not None:
        torch.set_num_threads(threads)
    found = _opened(episodes, part, camera)
    others: Episodes | None = None
    if split is not None:
        parts = Split.read(split)
        found, others = found.split(parts, "train"), found.split(parts, "validation")
    if validation is not None:
        others = _opened(validation, part, camera)
    if not len(found):
        raise LamdemoError("The split leaves no episode to learn from; name fewer of them in it.")
    folder = resolve_checkpoint(checkpoint)
    pipeline = TransferPipeline.from_pretrained(folder, device=best_device(device))
    config = ControllerConfig(
        found.spec.width,
        kind="actions" if ablation else "state",
        history=history,
        width=width,
        dropout=dropout,
        patch=token_patch(pipeline.model.config.encoder.grid),
    )
    training = ControllerTrainingConfig(steps=steps, batch=batch, noise=noise, seed=seed)
    work = Work(pipeline, folder, out, install, cache, stop_after, typer.echo)
    about = {"source": Path(episodes).name, "part": part, "split": split.name if split else None}
    made = [place for place in (work.kept, out, *out.absolute().parents) if not place.exists()]
    try:
        if not make_controller(
            work, name, found, others, config, training, mirror=mirror, reverse=reverse, about=about
        ):
            typer.echo(f"{name} is not finished; call it again to go on.")
    finally:
        remove_if_empty(made)


def _opened(source: str, part: str | None, cameras: list[str] | None) -> Episodes:
    from lamdemo.data.episodes import open_episodes

    return open_episodes(source, part=part, cameras=cameras or None)
