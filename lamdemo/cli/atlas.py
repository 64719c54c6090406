"""``lamdemo atlas``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lamdemo.cli.common import (
    Checkpoint,
    Device,
    Photos,
    Threads,
    checked_place,
    loaded,
    remove_if_empty,
    some_path,
)
from lamdemo.core.devices import AUTO

if TYPE_CHECKING:
    from lamdemo.latent_space.atlas import Atlas

Drawn = Annotated[
    Path | None,
    typer.Option(
        parser=some_path,
        metavar="DIR",
        help="Folder of videos whose actions go on the map and whose pictures do not: shown on photographs.",
    ),
]
Rate = Annotated[
    float | None, typer.Option(min=0.1, max=120, metavar="N", help="Steps a second of videos; the model's without.")
]
Judge = Annotated[
    bool, typer.Option("--judge", help="Also tell how often the nearest step of another scene is the same action.")
]


def atlas(
    out: Annotated[
        Path,
        typer.Option(
            parser=some_path,
            metavar="FILE",
            help="The atlas. Called atlas.safetensors in a checkpoint's folder, it is found there.",
        ),
    ],
    checkpoint: Checkpoint = None,
    videos: Annotated[
        Path | None, typer.Option(parser=some_path, metavar="DIR", help="Folder of videos, with folders in it or none.")
    ] = None,
    drawn: Drawn = None,
    scenes: Annotated[
        int | None, typer.Option(min=0, max=99_999, metavar="N", help="Procedural scenes to add; 520 without it.")
    ] = None,
    max_recordings: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Videos at most, spread over the folder; all without it.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Steps of each video at most.")] = 256,
    fps: Rate = None,
    judge: Judge = False,
    no_umap: Annotated[bool, typer.Option("--no-umap", help="Make no UMAP maps, which take a minute or more.")] = False,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the scenes and the UMAP maps.")] = 0,
    photos: Photos = None,
    again: Annotated[bool, typer.Option("--again", help="Begin anew, and replace an atlas that is there.")] = False,
    device: Device = AUTO,
    threads: Threads = None,
) -> None:
    """Make an atlas: a map of the actions in many clips, to look at and to play.

    A call that was stopped goes on where it was when it is given again. Scenes are made from photographs, with
    known actions. UMAP maps, clusters and directions need [bold]pip install lamdemo\\[atlas][/]. AdaWorld and villa-X
    (Little-Podi/AdaWorld, microsoft/villa-x, or a folder with their files) give maps to look at and not to play.

    [bold]Examples[/]

    [cyan]lamdemo atlas --videos clips --out atlas.safetensors[/]

    [cyan]lamdemo atlas --checkpoint sparse --scenes 100 --no-umap --out small.safetensors[/]

    [cyan]lamdemo atlas --checkpoint microsoft/villa-x --judge --out villa-x.safetensors[/]
    """
    import torch

    from lamdemo.engine.readers import load_other
    from lamdemo.latent_space.building import build_atlas
    from lamdemo.latent_space.recordings import AtlasConfig

    checked_place(out, folder=False)
    config = AtlasConfig(fps=fps, steps=steps, recordings=max_recordings, seed=seed, umap=not no_umap)
    if threads is not None:
        torch.set_num_threads(threads)
    reader = load_other(checkpoint, device=device) or loaded(checkpoint, device)
    made = [p for p in out.absolute().parents if not p.exists()]
    try:
        found = build_atlas(
            reader,
            videos=videos,
            drawn=drawn,
            scenes=scenes,
            out=out,
            config=config,
            photos=photos,
            resume=not again,
            say=lambda words: typer.echo(f"note: {words}", err=True),
        )
    finally:
        remove_if_empty(made)
    maps = ", ".join(found.coordinates)
    typer.echo(f"{out} ({len(found)} steps of {len(found.recordings)} recordings; maps {maps})")
    if judge:
        _tell_neighbours(found, seed)


def _tell_neighbours(found: Atlas, seed: int) -> None:
    """Print how often the nearest step of another scene is the same action."""
    from lamdemo.evaluation.of_atlas import judge_atlas

    scenes = judge_atlas(found, seed)
    for what, asked in (("kind", scenes["four"]), ("kind and direction", scenes["direction"]["all"])):
        if asked["queries"]:
            figures = "{value:.3f} ({low:.3f} to {high:.3f})".format(**asked["z"])
            typer.echo(f"nearest step of another scene, same {what}: {figures}; by chance {asked['chance']:.3f}")
