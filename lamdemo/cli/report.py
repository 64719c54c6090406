"""``lamdemo report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamdemo.cli.common import appearing_whole, checked_place, some_path, some_text
from lamdemo.errors import LamdemoError


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
    texts = {path: _read(path) for path in readme or []}
    if checkpoints is not None and not checkpoints.is_dir():
        raise LamdemoError(f"There is no folder {checkpoints.name}; give the one that the checkpoints are in.")

    from lamdemo.evaluation.results import read_reports
    from lamdemo.evaluation.tables import View, fill
    from lamdemo.pipeline.hub import DEFAULT_CHECKPOINT

    found = read_reports(reports, checkpoints)
    names = [r.name for r in found]
    if checkpoint is not None and checkpoint not in names:
        raise LamdemoError(f"There are no reports of {checkpoint!r}; choose from {', '.join(names)}.")
    chosen = checkpoint or (DEFAULT_CHECKPOINT if DEFAULT_CHECKPOINT in names else names[0])
    # Everything is made before anything is written.
    filled = {p: fill(text, View(found, chosen, p.absolute().parent), p.name) for p, text in texts.items()}
    if out is not None:
        from lamdemo.evaluation.plots import make_plots, write_plots
        from lamdemo.evaluation.tables import results_page

        view = View(found, chosen, out.absolute())
        figures = make_plots(view)
        with appearing_whole(out) as folder:
            why = write_plots(figures, folder, png=png)
            titles = {name: str(f.layout.meta["title"]) for name, f in figures.items()}
            page = results_page(view, titles, pictures=png and not why)
            (folder / "results.md").write_text(page, encoding="utf-8")
        if why:
            typer.echo(why, err=True)
        typer.echo(out / "results.md")
    for path, text in filled.items():
        if text != texts[path]:
            _write(path, text)
        typer.echo(path)


def _read(path: Path) -> str:
    try:
        # Bytes, so that the ends of lines stay as they are.
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LamdemoError(f"{path.name} cannot be read; give an existing Markdown file.") from error


def _write(path: Path, text: str) -> None:
    from lamdemo.models.checkpoint import write_safely

    try:
        write_safely(path, text.encode())
    except OSError as error:
        raise LamdemoError(f"{path.name} cannot be written; give a file that you may write to.") from error
