"""``lamdemo companions``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lamdemo.cli.common import (
    CheckpointFolder,
    Device,
    StopAfter,
    Threads,
    checked_place,
    command_line,
    some_path,
    some_text,
)
from lamdemo.core.devices import AUTO, best_device

if TYPE_CHECKING:
    from lamdemo.companions.steps import State


SplitFile = Annotated[
    Path | None,
    typer.Option(parser=some_path, metavar="FILE", help="TOML file of which clips are for what."),
]
EpisodeSource = Annotated[
    list[str] | None,
    typer.Option(
        parser=some_text,
        metavar="DIR[#PART]",
        help="Episodes with actions; one for each kind. #car, #arm: the part of a folder with an INDEX.tsv.",
    ),
]
SecondHand = Annotated[
    Path | None,
    typer.Option(parser=some_path, metavar="DIR", help="Cases that `lamdemo scenes --hand other` wrote."),
]
Calibration = Annotated[
    Path | None,
    typer.Option(parser=some_path, metavar="DIR", help="Other such cases, to fit the verdict on."),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        parser=some_text,
        metavar="NAME",
        help="These alone: a name of the list, or what stands before its slash; may be repeated.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        parser=some_path,
        metavar="DIR",
        help="For what is needed to go on, and for reports of a checkpoint that is not bundled; runs/companions "
        "without it.",
    ),
]


def companions(
    ctx: typer.Context,
    checkpoint: CheckpointFolder,
    videos: Annotated[Path | None, typer.Option(parser=some_path, metavar="DIR", help="Folder of clips.")] = None,
    split: SplitFile = None,
    episodes: EpisodeSource = None,
    pairs: Annotated[
        Path | None, typer.Option(parser=some_path, metavar="DIR", help="Cases that `lamdemo scenes` wrote.")
    ] = None,
    second_hand: SecondHand = None,
    calibration: Calibration = None,
    only: Only = None,
    show: Annotated[
        bool, typer.Option("--list", help="Make nothing: tell what is up to date and what is not.")
    ] = False,
    out: Out = None,
    stop_after: StopAfter = None,
    device: Device = AUTO,
    threads: Threads = None,
) -> None:
    """Remake all that a checkpoint brings, in the order of need: what is stale or missing, and nothing else.

    Atlas, verdict, prior, controllers, draft, twin, reports; of a bundled checkpoint cards, gallery, opening and
    pictures too. Called again, it goes on where it stopped. What needs data that are not given is told and left out.

    [bold]Examples[/]

    [cyan]lamdemo companions noisy --list[/]

    [cyan]lamdemo companions runs/mine/checkpoint --videos clips --episodes runs/doom --only prior --only controllers[/]
    """
    import torch

    from lamdemo.companions.bundle import companions_of
    from lamdemo.companions.target import Sources, Target
    from lamdemo.engine import resolve_checkpoint

    out = out or Path("runs/companions")
    checked_place(out, folder=True)
    if threads is not None:
        torch.set_num_threads(threads)
    target = Target(
        resolve_checkpoint(checkpoint),
        out,
        Sources(videos, split, tuple(episodes or ()), pairs, second_hand, calibration),
        command=command_line(ctx.obj or []),
        device=best_device(device),
        say=typer.echo,
    )
    made = companions_of(target)
    if show:
        chosen = made.chosen(only or ())
        typer.echo(_table({name: state for name, state in made.states().items() if name in chosen}))
    elif made.run(only or (), minutes=stop_after, say=typer.echo):
        typer.echo(f"{target.name}: all that can be made here is up to date.")


def _table(states: Mapping[str, State]) -> str:
    """One line for each companion: name, state, time, and why it is not up to date or cannot be made."""
    rows = [("companion", "state", "minutes", "")]
    for name, state in states.items():
        minutes = "–" if state.minutes is None else f"{state.minutes:.1f}"
        words = "; ".join(filter(None, (state.why, state.lacks and f"cannot be made here: {state.lacks}")))
        rows.append((name, state.kind, minutes, words))
    wide = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join(
        f"{name:{wide[0]}}  {kind:{wide[1]}}  {minutes:>{wide[2]}}  {words}".rstrip()
        for name, kind, minutes, words in rows
    )
