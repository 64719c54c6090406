"""``lamdemo verdict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lamdemo.cli.common import CheckpointFolder, Device, Threads, checked_place, command_line, some_path
from lamdemo.core.devices import AUTO, best_device


def verdict(
    ctx: typer.Context,
    checkpoint: CheckpointFolder,
    pairs: Annotated[
        Path,
        typer.Option(parser=some_path, metavar="DIR", help="Cases that `lamdemo scenes` wrote, to fit the rule on."),
    ],
    out: Annotated[Path, typer.Option(parser=some_path, metavar="FILE", help="Report to write, JSON.")],
    test: Annotated[
        Path | None,
        typer.Option(
            parser=some_path, metavar="DIR", help="Other cases, to count on what the rule's labels are worth."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the folds of cross-validation.")] = 0,
    device: Device = AUTO,
    threads: Threads = None,
) -> None:
    """Fit the rule that tells how much a result can be trusted, on cases whose truth is known.

    Writes [bold]verdict.json[/] beside the checkpoint's weights, and a report: how many results are called good and
    failed in cross-validation, and how many of these are. Take cases that the checkpoint is not judged on.

    [bold]Examples[/]

    [cyan]lamdemo scenes --hand other --part train --cases 144 --seed 11 --out calibration[/]

    [cyan]lamdemo verdict runs/mine/checkpoint --pairs calibration --out verdict-report.json[/]
    """
    import torch

    from lamdemo.engine import TransferPipeline, resolve_checkpoint
    from lamdemo.engine.verdict import forget_foreign_rule
    from lamdemo.evaluation.calibration import write_verdict

    checked_place(out, folder=False)
    if threads is not None:
        torch.set_num_threads(threads)
    folder = resolve_checkpoint(checkpoint)
    forget_foreign_rule(folder)
    pipeline = TransferPipeline.from_pretrained(folder, device=best_device(device))
    pipeline.name = folder.resolve().name
    command = command_line(ctx.obj or [])
    figures = write_verdict(pipeline, pairs, out, test=test, seed=seed, command=command)
    typer.echo(f"{folder / 'verdict.json'}, {out}")
    typer.echo("\n".join(_told(figures)))


def _told(figures: dict[str, Any]) -> list[str]:
    """A line for each label."""
    lines = []
    for label, found in figures["labels"].items():
        share = "none" if found["precision"] is None else f"{100 * found['precision']:.0f} %"
        words = "" if found["kept"] else "; it misses its mark and is never given"
        lines.append(f"{label}: {share} are, of {found['given']:.1f} of {figures['cases']} cases{words}")
    return lines
