"""``lamdemo report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamdemo.cli.common import appearing_whole, checked_place, some_path, some_text
from lamdemo.core.errors import LamdemoError


def report(
    reports: Annotated[
        Path,
        typer.Argument(parser=some_path, metavar="REPORTS", help="Folder that `lamdemo evaluate --suite paper` wrote."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(parser=some_path, metavar="DIR", help="Folder for results.md and the plots."),
    ] = None,
    readme: Annotated[
        list[Path] | None,
        typer.Option(
            parser=some_path,
            metavar="FILE",
            help="Markdown file whose marked places are filled, <!-- lamdemo:NAME --> to <!-- /lamdemo:NAME -->; "
            "may be repeated.",
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            parser=some_text, metavar="NAME", help="That tables of one checkpoint are about. The default one."
        ),
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            parser=some_path,
            metavar="DIR",
            help="Folder of the checkpoints, whose configs say their limits; the bundled ones without it.",
        ),
    ] = None,
    png: Annotated[bool, typer.Option("--png/--no-png", help="Pictures of the plots; they need Chromium.")] = True,
) -> None:
    """Turn reports into tables and plots.

    Give --out, --readme or both. Nothing is typed by hand: tables name the reports they are made of.

    [bold]Examples[/]

    [cyan]lamdemo report reports --out results[/]

    [cyan]lamdemo report reports --readme README.md --readme checkpoints/noisy/README.md[/]
    """
    if out is None and not readme:
        raise LamdemoError("There is nothing to write; give --out, --readme or both.")
    if out is not None:
        checked_place(out, folder=True)
    if checkpoints is not None and not checkpoints.is_dir():
        raise LamdemoError(f"There is no folder {checkpoints.name}; give the one that the checkpoints are in.")

    from lamdemo.reporting.page import PAGE, chosen_of, fill_card, read_card, write_card, write_results
    from lamdemo.reporting.reports import read_reports

    for path in readme or []:
        read_card(path)
    found = read_reports(reports, checkpoints)
    chosen = chosen_of(found, checkpoint)
    # Everything is made before anything is written.
    filled = {path: fill_card(path, found, chosen) for path in readme or []}
    if out is not None:
        with appearing_whole(out) as folder:
            why = write_results(found, chosen, folder, out, png=png)
        if why:
            typer.echo(why, err=True)
        typer.echo(out / PAGE)
    for path, text in filled.items():
        write_card(path, text)
        typer.echo(path)
