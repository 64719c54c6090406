"""``lamdemo look``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamdemo.cli.common import Checkpoint, Device, Threads, checked_place, loaded, some_path
from lamdemo.core.devices import AUTO


def look(
    out: Annotated[Path, typer.Option(parser=some_path, metavar="FILE", help="The sheet, a JPEG.")],
    checkpoint: Checkpoint = None,
    cases: Annotated[
        Path | None,
        typer.Option(
            parser=some_path, metavar="FILE", help="JSON list of clip, start and photo; examples/look.json without it."
        ),
    ] = None,
    device: Device = AUTO,
    threads: Threads = None,
) -> None:
    """Look by eye: a sheet of the same clips of people and animals, on the same pictures, under each checkpoint.

    [bold]Example[/]

    [cyan]lamdemo look --checkpoint runs/mine/checkpoint --out look.jpg[/]
    """
    import torch

    from lamdemo.engine.pretrained import bundled_folder
    from lamdemo.evaluation.look import CASES_NAME, look_sheet, read_cases, write_look

    checked_place(out, folder=False)
    if threads is not None:
        torch.set_num_threads(threads)
    chosen = read_cases(cases or bundled_folder().parent / "examples" / CASES_NAME)
    pipeline = loaded(checkpoint, device)
    sheet = look_sheet(pipeline, chosen, say=lambda words: typer.echo(words, err=True))
    typer.echo(write_look(sheet, out))
